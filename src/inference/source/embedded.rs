//! The small models that are compiled into the binary; their cards are beside them in `assets/models`.

use crate::inference::kernels::release_pages;

/// A model in the binary.
#[derive(Debug)]
pub(in crate::inference) struct EmbeddedModel {
    /// Its name, which is also that of its folder in `assets/models`.
    pub(in crate::inference) id: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

impl EmbeddedModel {
    /// The bytes of one of its files.
    pub(super) fn file(&self, name: &str) -> Option<&'static [u8]> {
        self.files.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
    }

    /// After loading: what was read of it need not stay in memory.
    pub(in crate::inference) fn release(&self) {
        for (_, bytes) in self.files {
            release_pages(bytes);
        }
    }
}

macro_rules! embedded {
    ($name:ident, $id:literal, $($file:literal)*) => {
        #[doc = concat!("`", $id, "`.")]
        pub(in crate::inference) static $name: EmbeddedModel = EmbeddedModel {
            id: $id,
            files: &[$((
                $file,
                include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/models/", $id, "/", $file)),
            )),*],
        };
    };
}

embedded!(DISTILBERT, "distilbert-mini-sst2", "config.json" "model.safetensors" "tokenizer.json" "golden.json");
embedded!(MOBILENET_V2, "mobilenetv2-mini", "config.json" "model.safetensors" "golden.json");
embedded!(CLIP, "clip-mini", "config.json" "model.safetensors" "tokenizer.json" "golden.json");
