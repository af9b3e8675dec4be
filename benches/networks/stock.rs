//! The networks out of candle-nn's own layers, as its examples build them: what our kernels are compared with.

use std::path::Path;

use anyhow::{Result, bail};
use candle_core::{DType, Device, IndexOp as _, Module as _, ModuleT as _, Tensor};
use candle_nn::{
    BatchNorm, Conv2d, Conv2dConfig, Embedding, LayerNorm, Linear, VarBuilder, batch_norm, conv2d_no_bias, embedding,
    layer_norm, linear, linear_no_bias,
};

type Candle<T> = candle_core::Result<T>;

/// One of the networks.
pub(super) enum Stock {
    DistilBert { words: Embedding, positions: Embedding, norm: LayerNorm, layers: Vec<Layer>, heads: [Linear; 2] },
    ClipText { words: Embedding, positions: Embedding, layers: Vec<Layer>, norm: LayerNorm, projection: Linear },
    ClipPicture(Box<Vision>),
    MobileNet { stem: ConvNorm, blocks: Vec<Block>, head: ConvNorm, classifier: Linear },
}

pub(super) struct Vision {
    patches: Conv2d,
    class: Tensor,
    positions: Tensor,
    norms: [LayerNorm; 2],
    layers: Vec<Layer>,
    projection: Linear,
}

impl Stock {
    pub(super) fn load(network: &str, folder: &Path) -> Result<Self> {
        let bytes = std::fs::read(folder.join("model.safetensors"))?;
        let vb = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu)?;
        Ok(match network {
            "distilbert" => {
                let (net, embeddings) = (vb.pp("distilbert"), vb.pp("distilbert.embeddings"));
                Self::DistilBert {
                    words: embedding(30_522, 768, embeddings.pp("word_embeddings"))?,
                    positions: embedding(512, 768, embeddings.pp("position_embeddings"))?,
                    norm: layer_norm(768, 1e-12, embeddings.pp("LayerNorm"))?,
                    layers: layers(&net.pp("transformer.layer"), 6, &BERT)?,
                    heads: [linear(768, 768, vb.pp("pre_classifier"))?, linear(768, 2, vb.pp("classifier"))?],
                }
            }
            "clip-text" => {
                let net = vb.pp("text_model");
                Self::ClipText {
                    words: embedding(49_408, 512, net.pp("embeddings.token_embedding"))?,
                    positions: embedding(77, 512, net.pp("embeddings.position_embedding"))?,
                    layers: layers(&net.pp("encoder.layers"), 12, &CLIP_TEXT)?,
                    norm: layer_norm(512, 1e-5, net.pp("final_layer_norm"))?,
                    projection: linear_no_bias(512, 512, vb.pp("text_projection"))?,
                }
            }
            "clip-image" => {
                let (net, embeddings) = (vb.pp("vision_model"), vb.pp("vision_model.embeddings"));
                let stride = Conv2dConfig { stride: 32, ..Conv2dConfig::default() };
                Self::ClipPicture(Box::new(Vision {
                    patches: conv2d_no_bias(3, 768, 32, stride, embeddings.pp("patch_embedding"))?,
                    class: embeddings.get(768, "class_embedding")?,
                    positions: embeddings.get((50, 768), "position_embedding.weight")?,
                    norms: [
                        layer_norm(768, 1e-5, net.pp("pre_layrnorm"))?,
                        layer_norm(768, 1e-5, net.pp("post_layernorm"))?,
                    ],
                    layers: layers(&net.pp("encoder.layers"), 12, &CLIP_PICTURE)?,
                    projection: linear_no_bias(768, 512, vb.pp("visual_projection"))?,
                }))
            }
            "mobilenet" => mobilenet(&vb)?,
            _ => bail!("no stock network \"{network}\""),
        })
    }

    /// Texts of different lengths are padded to the longest, as everyone does who has no ragged batches.
    pub(super) fn texts(&self, texts: &[Vec<u32>]) -> Result<Vec<f32>> {
        let (batch, longest) = (texts.len(), texts.iter().map(Vec::len).max().unwrap_or_default());
        let padded: Vec<u32> = texts.iter().flat_map(|ids| ids.iter().copied().chain([0; 512]).take(longest)).collect();
        let ids = Tensor::from_vec(padded, (batch, longest), &Device::Cpu)?;
        let places = Tensor::arange(0, longest as u32, &Device::Cpu)?;
        let y = match self {
            Self::DistilBert { words, positions, norm, layers, heads } => {
                let hidden: Vec<f32> =
                    texts.iter().flat_map(|ids| (0..longest).map(|i| hidden(i >= ids.len()))).collect();
                let mask = Tensor::from_vec(hidden, (batch, 1, 1, longest), &Device::Cpu)?;
                let x = words.forward(&ids)?.broadcast_add(&positions.forward(&places)?)?;
                let mut x = norm.forward(&x)?;
                for layer in layers {
                    x = layer.post(&x, &mask)?;
                }
                heads[1].forward(&heads[0].forward(&x.i((.., 0))?.contiguous()?)?.relu()?)?
            }
            Self::ClipText { words, positions, layers, norm, projection } => {
                let causal: Vec<f32> = (0..longest * longest).map(|i| hidden(i % longest > i / longest)).collect();
                let mask = Tensor::from_vec(causal, (1, 1, longest, longest), &Device::Cpu)?;
                let mut x = words.forward(&ids)?.broadcast_add(&positions.forward(&places)?)?;
                for layer in layers {
                    x = layer.pre(&x, Some(&mask))?;
                }
                let ends =
                    texts.iter().enumerate().map(|(row, ids)| x.i((row, ids.len() - 1))).collect::<Candle<Vec<_>>>()?;
                projection.forward(&norm.forward(&Tensor::stack(&ends, 0)?)?)?
            }
            _ => bail!("a network for pictures was given texts"),
        };
        Ok(y.flatten_all()?.to_vec1()?)
    }

    pub(super) fn pictures(&self, pictures: &[Vec<f32>]) -> Result<Vec<f32>> {
        let x = Tensor::from_vec(pictures.concat(), (pictures.len(), 224, 224, 3), &Device::Cpu)?;
        let x = x.permute((0, 3, 1, 2))?.contiguous()?;
        let y = match self {
            Self::ClipPicture(vision) => vision.forward(&x)?,
            Self::MobileNet { stem, blocks, head, classifier } => {
                let mut x = stem.forward(&x)?;
                for block in blocks {
                    x = block.forward(&x)?;
                }
                classifier.forward(&head.forward(&x)?.mean((2, 3))?)?
            }
            _ => bail!("a network for texts was given pictures"),
        };
        Ok(y.flatten_all()?.to_vec1()?)
    }
}

/// What is added to the score of a token that may be seen, or not.
fn hidden(hidden: bool) -> f32 {
    if hidden { f32::NEG_INFINITY } else { 0.0 }
}

impl Vision {
    fn forward(&self, x: &Tensor) -> Candle<Tensor> {
        let batch = x.dim(0)?;
        let patches = self.patches.forward(x)?.flatten_from(2)?.transpose(1, 2)?;
        let class = self.class.expand((batch, 1, 768))?;
        let x = Tensor::cat(&[class, patches], 1)?.broadcast_add(&self.positions)?;
        let mut x = self.norms[0].forward(&x)?;
        for layer in &self.layers {
            x = layer.pre(&x, None)?;
        }
        self.projection.forward(&self.norms[1].forward(&x.i((.., 0))?.contiguous()?)?)
    }
}

struct Shape {
    width: usize,
    heads: usize,
    epsilon: f64,
    /// Query, key, value, output, two feed-forward layers, and the two norms.
    names: [&'static str; 8],
}

const BERT: Shape = Shape {
    width: 768,
    heads: 12,
    epsilon: 1e-12,
    names: [
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
        "ffn.lin1",
        "ffn.lin2",
        "sa_layer_norm",
        "output_layer_norm",
    ],
};
const CLIP_NAMES: [&str; 8] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.out_proj",
    "mlp.fc1",
    "mlp.fc2",
    "layer_norm1",
    "layer_norm2",
];
const CLIP_TEXT: Shape = Shape { width: 512, heads: 8, epsilon: 1e-5, names: CLIP_NAMES };
const CLIP_PICTURE: Shape = Shape { width: 768, heads: 12, epsilon: 1e-5, names: CLIP_NAMES };

/// A layer of a transformer.
pub(super) struct Layer {
    qkv: [Linear; 3],
    output: Linear,
    feed_forward: [Linear; 2],
    norms: [LayerNorm; 2],
    heads: usize,
}

fn layers(vb: &VarBuilder<'_>, count: usize, shape: &Shape) -> Candle<Vec<Layer>> {
    let Shape { width, heads, epsilon, names: [q, k, v, output, up, down, first, second] } = *shape;
    (0..count)
        .map(|index| {
            let vb = vb.pp(index);
            let square = |name| linear(width, width, vb.pp(name));
            Ok(Layer {
                qkv: [square(q)?, square(k)?, square(v)?],
                output: square(output)?,
                feed_forward: [linear(width, 4 * width, vb.pp(up))?, linear(4 * width, width, vb.pp(down))?],
                norms: [layer_norm(width, epsilon, vb.pp(first))?, layer_norm(width, epsilon, vb.pp(second))?],
                heads,
            })
        })
        .collect()
}

impl Layer {
    /// Norms before each part, quick GELU (CLIP).
    fn pre(&self, x: &Tensor, mask: Option<&Tensor>) -> Candle<Tensor> {
        let x = (x + self.attention(&self.norms[0].forward(x)?, mask)?)?;
        let up = self.feed_forward[0].forward(&self.norms[1].forward(&x)?)?;
        let gate = candle_nn::ops::sigmoid(&(&up * 1.702)?)?;
        x + self.feed_forward[1].forward(&(up * gate)?)?
    }

    /// Norms after each part, exact GELU (DistilBERT).
    fn post(&self, x: &Tensor, mask: &Tensor) -> Candle<Tensor> {
        let x = self.norms[0].forward(&(x + self.attention(x, Some(mask))?)?)?;
        let up = self.feed_forward[0].forward(&x)?.gelu_erf()?;
        self.norms[1].forward(&(&x + self.feed_forward[1].forward(&up)?)?)
    }

    fn attention(&self, x: &Tensor, mask: Option<&Tensor>) -> Candle<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let part = |linear: &Linear| {
            let shape = (batch, tokens, self.heads, width / self.heads);
            linear.forward(x)?.reshape(shape)?.transpose(1, 2)?.contiguous()
        };
        let [q, k, v] = [part(&self.qkv[0])?, part(&self.qkv[1])?, part(&self.qkv[2])?];
        let mut scores = (q.matmul(&k.transpose(2, 3)?)? / ((width / self.heads) as f64).sqrt())?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(mask)?;
        }
        let mixed = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v)?;
        self.output.forward(&mixed.transpose(1, 2)?.reshape((batch, tokens, width))?)
    }
}

/// A convolution with its batch norm.
pub(super) struct ConvNorm {
    convolution: Conv2d,
    norm: BatchNorm,
    relu6: bool,
}

impl ConvNorm {
    fn load(vb: &VarBuilder<'_>, names: [&str; 2], [inputs, outputs, size]: [usize; 3], stride: usize) -> Candle<Self> {
        let groups = if size == 3 && inputs == outputs { inputs } else { 1 };
        let config = Conv2dConfig { padding: size / 2, stride, groups, ..Conv2dConfig::default() };
        let convolution = conv2d_no_bias(inputs, outputs, size, config, vb.pp(names[0]))?;
        Ok(Self { convolution, norm: batch_norm(outputs, 1e-5, vb.pp(names[1]))?, relu6: true })
    }

    fn forward(&self, x: &Tensor) -> Candle<Tensor> {
        let y = self.norm.forward_t(&self.convolution.forward(x)?, false)?;
        if self.relu6 { y.clamp(0f32, 6f32) } else { Ok(y) }
    }
}

pub(super) struct Block {
    convolutions: Vec<ConvNorm>,
    residual: bool,
}

impl Block {
    fn forward(&self, x: &Tensor) -> Candle<Tensor> {
        let y = self.convolutions.iter().try_fold(x.clone(), |x, convolution| convolution.forward(&x))?;
        if self.residual { y + x } else { Ok(y) }
    }
}

fn mobilenet(vb: &VarBuilder<'_>) -> Candle<Stock> {
    let mut blocks = Vec::new();
    let mut inputs = 32;
    // Table 2 of the paper: expansion, channels, repeats, stride.
    let stages =
        [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];
    for (stage, [expansion, outputs, repeats, stride]) in stages.into_iter().enumerate() {
        for index in 0..repeats {
            let vb = vb.pp(format!("blocks.{stage}.{index}"));
            let (wide, stride) = (inputs * expansion, if index == 0 { stride } else { 1 });
            let mut convolutions = if expansion == 1 {
                vec![
                    ConvNorm::load(&vb, ["conv_dw", "bn1"], [wide, wide, 3], stride)?,
                    ConvNorm::load(&vb, ["conv_pw", "bn2"], [wide, outputs, 1], 1)?,
                ]
            } else {
                vec![
                    ConvNorm::load(&vb, ["conv_pw", "bn1"], [inputs, wide, 1], 1)?,
                    ConvNorm::load(&vb, ["conv_dw", "bn2"], [wide, wide, 3], stride)?,
                    ConvNorm::load(&vb, ["conv_pwl", "bn3"], [wide, outputs, 1], 1)?,
                ]
            };
            if let Some(last) = convolutions.last_mut() {
                last.relu6 = false;
            }
            blocks.push(Block { convolutions, residual: stride == 1 && inputs == outputs });
            inputs = outputs;
        }
    }
    Ok(Stock::MobileNet {
        stem: ConvNorm::load(vb, ["conv_stem", "bn1"], [3, 32, 3], 2)?,
        blocks,
        head: ConvNorm::load(vb, ["conv_head", "bn2"], [320, 1_280, 1], 1)?,
        classifier: linear(1_280, 1_000, vb.pp("classifier"))?,
    })
}
