//! Pictures: from what a request says (base64, `data:` URI, sample name) to the pixels a network takes.
//!
//! `decode` turns bytes into RGB within limits, `samples` holds the pictures that ship with aiq, and here are the
//! reading of the request's text and the resizing. It fetches nothing: a URL is refused.

mod decode;
mod samples;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use candle_core::{Device, Tensor};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

pub(super) use decode::Rgb;
pub use decode::{MAX_DECODED_BYTES, MAX_PIXELS, MAX_SIDE};
pub use samples::{Sample, samples};

use super::kernels::Compute;
use crate::protocol::ProblemCode;

/// The literal that stands for the default sample picture.
const DUMMY: &str = "dummy_image_data";
/// Prefix of the name of a sample picture.
const SAMPLE_PREFIX: &str = "sample:";

/// Longest side of a network's input: twice what the largest of the common ones take.
pub(super) const MAX_INPUT_SIDE: usize = 1_024;

/// Standard base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Nothing was sent.
    #[error("there is no image; send base64, a data: URI, or sample:NAME")]
    Empty,
    /// A URL was sent.
    #[error("images are not fetched from URLs; send the picture itself as base64 or as a data: URI")]
    RemoteUrl,
    /// There is no sample picture of that name.
    #[error("there is no sample picture \"{name}\"; there are {known}")]
    UnknownSample {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A `data:` URI without base64 in it.
    #[error("the data: URI must look like data:image/png;base64,…")]
    DataUri,
    /// Not base64.
    #[error("not an image: neither standard base64, nor a data: URI, nor sample:NAME ({0})")]
    Base64(String),
    /// The bytes are of another format.
    #[error("{0}; JPEG, PNG and WebP are read")]
    Format(String),
    /// More pixels than are decoded.
    #[error("the picture is {width}×{height} pixels; at most {MAX_SIDE}×{MAX_SIDE} and {} megapixels are decoded", MAX_PIXELS / 1_000_000)]
    TooLarge {
        /// Pixels in a row.
        width: u64,
        /// Rows.
        height: u64,
    },
    /// Decoding would take more memory than is given to it.
    #[error("the picture would take {bytes} bytes decoded; at most {MAX_DECODED_BYTES} are given to it")]
    TooManyBytes {
        /// What it would take.
        bytes: u64,
    },
    /// The end is missing.
    #[error("the {format} data is cut off before its end")]
    Truncated {
        /// JPEG, PNG or WebP.
        format: &'static str,
    },
    /// The decoder refused it.
    #[error("the {format} data can't be decoded: {reason}")]
    Undecodable {
        /// JPEG, PNG or WebP.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
}

impl ImageError {
    /// The code on the wire.
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::Empty => ProblemCode::EmptyData,
            Self::RemoteUrl | Self::UnknownSample { .. } => ProblemCode::InvalidField,
            Self::TooLarge { .. } | Self::TooManyBytes { .. } => ProblemCode::ImageTooLarge,
            Self::DataUri | Self::Base64(_) | Self::Format(_) | Self::Truncated { .. } | Self::Undecodable { .. } => {
                ProblemCode::UndecodableImage
            }
        }
    }
}

/// A square RGB picture of the size a network takes, with the numbers it is normalised by.
#[derive(Clone, Debug)]
pub struct Pixels {
    /// `side × side × 3`.
    rgb: Vec<u8>,
    side: usize,
    mean: [f32; 3],
    std: [f32; 3],
}

impl Pixels {
    /// Pixels that are of the network's size already.
    #[cfg(test)]
    pub(super) fn new(rgb: Vec<u8>, preprocess: &Preprocess) -> Self {
        assert_eq!(rgb.len(), preprocess.side * preprocess.side * 3);
        Self { rgb, side: preprocess.side, mean: preprocess.mean, std: preprocess.std }
    }

    /// Pixels in a row, and rows.
    pub fn side(&self) -> usize {
        self.side
    }

    /// The bytes, RGB row by row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Writes `(x/255 - mean) / std` of all numbers, in NHWC.
    fn normalise(&self, into: &mut [f32]) {
        let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
            std::array::from_fn(|x| (x as f32 / 255.0 - self.mean[channel]) / self.std[channel])
        });
        for (into, [r, g, b]) in into.as_chunks_mut().0.iter_mut().zip(self.rgb.as_chunks().0) {
            *into = [tables[0][usize::from(*r)], tables[1][usize::from(*g)], tables[2][usize::from(*b)]];
        }
    }
}

/// Pictures of one size as a network takes them: `pictures × side × side × 3` normalised numbers.
pub(super) fn normalised(compute: &Compute, pictures: &[&Pixels]) -> candle_core::Result<Tensor> {
    let length = pictures.first().map_or(0, |picture| picture.rgb.len());
    let side = (length / 3).isqrt();
    let mut all = vec![0f32; pictures.len() * length];
    compute.pool.run_chunks(&mut all, length.max(1), &|index, into| pictures[index].normalise(into));
    Tensor::from_vec(all, (pictures.len(), side, side, 3), &Device::Cpu)
}

/// How a centre crop is placed when the margin is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CropRounding {
    /// Half a pixel is dropped (transformers).
    Floor,
    /// Half a pixel goes to the even side (torchvision, timm).
    HalfEven,
}

/// From a picture of any size to a network's input: shortest side scaled (bicubic, antialiased as Pillow does it), middle
/// square cut out, numbers normalised.
#[derive(Clone, Debug)]
pub struct Preprocess {
    /// What the shortest side is scaled to.
    pub scale_to: usize,
    /// Side of the square that is cut out.
    pub side: usize,
    /// Where it is cut.
    pub rounding: CropRounding,
    /// Subtracted from each channel (of numbers from 0 to 1).
    pub mean: [f32; 3],
    /// Each channel is divided by it.
    pub std: [f32; 3],
}

impl Preprocess {
    /// Fails where no picture could be made so, or only in more memory than a picture is worth.
    pub(super) fn checked(self) -> Result<Self, String> {
        let Self { scale_to, side, mean, std, .. } = &self;
        if !(1..=MAX_INPUT_SIDE).contains(side) || !(*side..=MAX_SIDE as usize).contains(scale_to) {
            return Err(format!(
                "pictures are scaled to {scale_to} pixels and cut to {side}; a side of 1 to {MAX_INPUT_SIDE}, out of no less \
                 and at most {MAX_SIDE}, can be had"
            ));
        }
        let usable = |std: &f32| std.is_normal() && *std > 0.0;
        if !mean.iter().all(|mean| mean.is_finite()) || !std.iter().all(usable) {
            return Err(format!("mean {mean:?} and standard deviation {std:?} of the channels: not usable numbers"));
        }
        Ok(self)
    }

    /// Reads an image as a request states it.
    pub fn read(&self, text: &str) -> Result<Pixels, ImageError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ImageError::Empty);
        }
        if text == DUMMY {
            return self.decode(samples::default_sample().bytes);
        }
        if let Some(name) = text.strip_prefix(SAMPLE_PREFIX) {
            return self.decode(samples::find(name.trim())?.bytes);
        }
        if text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"))
            || text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
        {
            return Err(ImageError::RemoteUrl);
        }
        self.decode(&bytes_of(text)?)
    }

    /// Decodes a JPEG, PNG or WebP file and makes the network's input of it.
    pub fn decode(&self, bytes: &[u8]) -> Result<Pixels, ImageError> {
        self.resize(&decode::decode(bytes)?)
    }

    /// Makes the network's input of a decoded picture.
    pub(super) fn resize(&self, picture: &Rgb) -> Result<Pixels, ImageError> {
        let Self { scale_to, side, rounding, mean, std } = *self;
        let scaled = picture.shortest_side_to(scale_to);
        let rgb = if [picture.width, picture.height] == [side, side] && scale_to == side {
            picture.bytes.clone()
        } else {
            // The square is cut out of the source, so that nothing beyond it is computed: a very long picture would
            // otherwise be scaled to a much longer one first.
            let [x_factor, y_factor] =
                [picture.width as f64 / scaled[0] as f64, picture.height as f64 / scaled[1] as f64];
            let [left, top] = scaled.map(|length| rounding.margin(length.saturating_sub(side)));
            let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).crop(
                left as f64 * x_factor,
                top as f64 * y_factor,
                side as f64 * x_factor,
                side as f64 * y_factor,
            );
            let mut output = Image::new(side as u32, side as u32, PixelType::U8x3);
            let broken = |reason: String| ImageError::Undecodable { format: "picture", reason };
            let source = ImageRef::new(picture.width as u32, picture.height as u32, &picture.bytes, PixelType::U8x3)
                .map_err(|error| broken(error.to_string()))?;
            Resizer::new().resize(&source, &mut output, &options).map_err(|error| broken(error.to_string()))?;
            output.into_vec()
        };
        Ok(Pixels { rgb, side, mean, std })
    }
}

impl CropRounding {
    /// Pixels to the left of (or above) the crop, of `excess` in all.
    fn margin(self, excess: usize) -> usize {
        match self {
            Self::HalfEven if excess % 4 == 3 => excess / 2 + 1,
            Self::HalfEven | Self::Floor => excess / 2,
        }
    }
}

impl Rgb {
    /// Width and height when the shortest side is scaled to `length`; the longer one is rounded down, as torchvision and
    /// transformers do.
    fn shortest_side_to(&self, length: usize) -> [usize; 2] {
        let shortest = self.width.min(self.height).max(1);
        [self.width, self.height].map(|side| if side == shortest { length } else { length * side / shortest })
    }
}

/// The bytes of base64 or of a `data:` URI.
fn bytes_of(text: &str) -> Result<Vec<u8>, ImageError> {
    let encoded = match text.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("data:") => {
            let (kind, encoded) = text[5..].split_once(',').ok_or(ImageError::DataUri)?;
            if !kind.to_ascii_lowercase().ends_with(";base64") {
                return Err(ImageError::DataUri);
            }
            encoded
        }
        _ => text,
    };
    // Many tools wrap base64 in lines.
    let decoded = if encoded.bytes().any(|byte| byte.is_ascii_whitespace()) {
        BASE64.decode(encoded.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>())
    } else {
        BASE64.decode(encoded)
    };
    decoded.map_err(|error| ImageError::Base64(error.to_string()))
}

#[cfg(test)]
mod tests;
