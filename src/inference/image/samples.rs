//! The sample pictures that ship with aiq; their licences are listed beside them.

use std::sync::LazyLock;

use serde::Deserialize;

use super::ImageError;

/// A sample picture.
#[derive(Debug)]
pub struct Sample {
    /// What it is asked for by, after `sample:`.
    pub name: String,
    /// Labels of ImageNet that fit it.
    pub labels: Vec<String>,
    /// What it shows, in words.
    pub caption: String,
    /// The file.
    pub bytes: &'static [u8],
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    file: String,
    labels: Vec<String>,
    caption: String,
}

const INDEX: &str = include_str!("../../../assets/samples/index.json");

macro_rules! files {
    ($($file:literal)*) => {
        [$(($file, include_bytes!(concat!("../../../assets/samples/", $file)).as_slice())),*]
    };
}

/// The files by name; the test below keeps this list and the index together.
static FILES: [(&str, &[u8]); 24] = files!(
    "cat.jpg" "coffee.webp" "rocket.jpg" "lemon.jpg" "orange.jpg" "jug.webp" "binoculars.png" "syringe.jpg"
    "candle.jpg" "teddy.jpg" "mushroom.jpg" "slug.jpg" "mantis.jpg" "grasshopper.jpg" "frog.jpg" "penguin.jpg"
    "goose.jpg" "camel.jpg" "bear.jpg" "pig.jpg" "bison.jpg" "elephant.jpg" "gorilla.jpg" "koala.jpg"
);

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    // Checked by a test: the index is part of the binary.
    let entries: Vec<Entry> = serde_json::from_str(INDEX).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|Entry { name, file, labels, caption }| {
            let (_, bytes) = FILES.iter().find(|(known, _)| *known == file)?;
            Some(Sample { name, labels, caption, bytes })
        })
        .collect()
});

/// All sample pictures, the default one first.
pub fn samples() -> &'static [Sample] {
    &SAMPLES
}

/// The one that `dummy_image_data` stands for.
pub(super) fn default_sample() -> &'static Sample {
    &SAMPLES[0]
}

/// The sample of this name.
pub(super) fn find(name: &str) -> Result<&'static Sample, ImageError> {
    SAMPLES.iter().find(|sample| sample.name == name).ok_or_else(|| ImageError::UnknownSample {
        name: name.chars().take(64).collect(),
        known: SAMPLES.iter().map(|sample| sample.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_files_belong_together() {
        let entries: Vec<Entry> = serde_json::from_str(INDEX).unwrap();
        assert_eq!(entries.len(), FILES.len());
        assert_eq!(samples().len(), FILES.len());
        assert_eq!(default_sample().name, "cat");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/samples");
        let pictures = std::fs::read_dir(folder).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
            [".jpg", ".png", ".webp"].iter().any(|end| name.ends_with(end))
        });
        assert_eq!(pictures.count(), FILES.len());
    }
}
