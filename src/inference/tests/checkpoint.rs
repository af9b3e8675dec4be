//! Safetensors files made for a test, and the tensors that the networks have.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde_json::{Map, json};

/// Names and shapes of the tensors of a file, in its order.
pub(super) type Shapes = Vec<(String, Vec<usize>)>;

/// Begins a file of `f32` tensors: all but their numbers, which the caller writes in the same order.
pub(super) fn begin(path: &Path, shapes: &[(String, Vec<usize>)]) -> BufWriter<File> {
    let mut header = Map::new();
    let mut offset = 0;
    for (name, shape) in shapes {
        let end = offset + 4 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file
}

/// Writes a file whose numbers are all zero, as a hole that takes no room.
pub(super) fn hollow(path: &Path, shapes: &[(String, Vec<usize>)]) {
    let mut file = begin(path, shapes);
    file.flush().unwrap();
    let numbers: usize = shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let file = file.get_ref();
    file.set_len(file.metadata().unwrap().len() + 4 * numbers as u64).unwrap();
}

/// Adds a layer with weight and bias.
fn layer(shapes: &mut Shapes, name: &str, weight: &[usize]) {
    shapes.push((format!("{name}.weight"), weight.to_vec()));
    shapes.push((format!("{name}.bias"), vec![weight[0]]));
}

/// Sizes of a transformer: hidden states, feed-forward layers, number of layers.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) width: usize,
    pub(super) hidden: usize,
    pub(super) layers: usize,
}

/// DistilBERT's tensors.
pub(super) fn distilbert(vocabulary: usize, positions: usize, labels: usize, sizes: Sizes) -> Shapes {
    let Sizes { width, hidden, layers } = sizes;
    let embeddings = "distilbert.embeddings";
    let mut shapes = vec![
        (format!("{embeddings}.word_embeddings.weight"), vec![vocabulary, width]),
        (format!("{embeddings}.position_embeddings.weight"), vec![positions, width]),
    ];
    layer(&mut shapes, &format!("{embeddings}.LayerNorm"), &[width]);
    for index in 0..layers {
        let prefix = format!("distilbert.transformer.layer.{index}");
        for part in ["q_lin", "k_lin", "v_lin", "out_lin"] {
            layer(&mut shapes, &format!("{prefix}.attention.{part}"), &[width, width]);
        }
        layer(&mut shapes, &format!("{prefix}.sa_layer_norm"), &[width]);
        layer(&mut shapes, &format!("{prefix}.ffn.lin1"), &[hidden, width]);
        layer(&mut shapes, &format!("{prefix}.ffn.lin2"), &[width, hidden]);
        layer(&mut shapes, &format!("{prefix}.output_layer_norm"), &[width]);
    }
    layer(&mut shapes, "pre_classifier", &[width, width]);
    layer(&mut shapes, "classifier", &[labels, width]);
    shapes
}

/// MobileNetV2's tensors: channels of the stem, of each stage and of the head; what blocks expand them by; classes.
pub(super) fn mobilenet(stem: usize, stages: [usize; 7], head: usize, expansion: usize, classes: usize) -> Shapes {
    let mut shapes = Shapes::new();
    let mut convolution = |name: &str, norm: &str, weight: [usize; 4]| {
        shapes.push((format!("{name}.weight"), weight.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            shapes.push((format!("{norm}.{part}"), vec![weight[0]]));
        }
    };
    convolution("conv_stem", "bn1", [stem, 3, 3, 3]);
    let mut inputs = stem;
    // Table 2 of the paper.
    for (stage, (outputs, repeats)) in stages.into_iter().zip([1, 2, 3, 4, 3, 3, 1]).enumerate() {
        for index in 0..repeats {
            let name = |part: &str| format!("blocks.{stage}.{index}.{part}");
            if stage == 0 {
                convolution(&name("conv_dw"), &name("bn1"), [inputs, 1, 3, 3]);
                convolution(&name("conv_pw"), &name("bn2"), [outputs, inputs, 1, 1]);
            } else {
                let wide = inputs * expansion;
                convolution(&name("conv_pw"), &name("bn1"), [wide, inputs, 1, 1]);
                convolution(&name("conv_dw"), &name("bn2"), [wide, 1, 3, 3]);
                convolution(&name("conv_pwl"), &name("bn3"), [outputs, wide, 1, 1]);
            }
            inputs = outputs;
        }
    }
    convolution("conv_head", "bn2", [head, inputs, 1, 1]);
    layer(&mut shapes, "classifier", &[classes, head]);
    shapes
}

/// The layers of one of CLIP's towers.
fn tower(shapes: &mut Shapes, prefix: &str, sizes: Sizes) {
    let Sizes { width, hidden, layers } = sizes;
    for index in 0..layers {
        let name = |part: &str| format!("{prefix}.encoder.layers.{index}.{part}");
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            layer(shapes, &name(&format!("self_attn.{part}")), &[width, width]);
        }
        layer(shapes, &name("layer_norm1"), &[width]);
        layer(shapes, &name("layer_norm2"), &[width]);
        layer(shapes, &name("mlp.fc1"), &[hidden, width]);
        layer(shapes, &name("mlp.fc2"), &[width, hidden]);
    }
}

/// Tensors of CLIP's text tower.
pub(super) fn clip_text(vocabulary: usize, positions: usize, projection: usize, sizes: Sizes) -> Shapes {
    let width = sizes.width;
    let mut shapes = vec![
        ("text_model.embeddings.token_embedding.weight".to_owned(), vec![vocabulary, width]),
        ("text_model.embeddings.position_embedding.weight".to_owned(), vec![positions, width]),
        ("text_projection.weight".to_owned(), vec![projection, width]),
    ];
    tower(&mut shapes, "text_model", sizes);
    layer(&mut shapes, "text_model.final_layer_norm", &[width]);
    shapes
}

/// Tensors of CLIP's vision transformer over so many patches of `patch × patch` pixels.
pub(super) fn clip_vision(patches: usize, patch: usize, projection: usize, sizes: Sizes) -> Shapes {
    let width = sizes.width;
    let mut shapes = vec![
        ("vision_model.embeddings.class_embedding".to_owned(), vec![width]),
        ("vision_model.embeddings.patch_embedding.weight".to_owned(), vec![width, 3, patch, patch]),
        ("vision_model.embeddings.position_embedding.weight".to_owned(), vec![patches + 1, width]),
        ("visual_projection.weight".to_owned(), vec![projection, width]),
    ];
    tower(&mut shapes, "vision_model", sizes);
    layer(&mut shapes, "vision_model.pre_layrnorm", &[width]);
    layer(&mut shapes, "vision_model.post_layernorm", &[width]);
    shapes
}
