//! JPEG, PNG and WebP files to RGB, within limits that are checked before anything is decoded.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};

use super::ImageError;

/// Most pixels in a row, and most rows.
pub const MAX_SIDE: u64 = 8_192;
/// Most pixels in all.
pub const MAX_PIXELS: u64 = 40_000_000;
/// Most memory for a decoded picture, in bytes.
pub const MAX_DECODED_BYTES: u64 = 128 * 1024 * 1024;

/// A decoded picture.
pub(in crate::inference) struct Rgb {
    /// `width × height × 3`.
    pub(in crate::inference) bytes: Vec<u8>,
    pub(in crate::inference) width: usize,
    pub(in crate::inference) height: usize,
}

/// Decodes a file; what it is, its first bytes say.
pub(super) fn decode(bytes: &[u8]) -> Result<Rgb, ImageError> {
    let (format, name) = sniff(bytes)?;
    if format == ImageFormat::Png
        && let Some([width, height]) = png_size(bytes)
    {
        check_size(width, height)?;
    }
    let undecodable = |error: image::ImageError| match error {
        image::ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format: name }
        }
        error => ImageError::Undecodable { format: name, reason: error.to_string() },
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(ImageError::TooManyBytes { bytes: decoder.total_bytes() });
    }
    // The decoder fills what is missing with grey; we would rather say so.
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err(ImageError::Truncated { format: name });
    }
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    picture.apply_orientation(orientation);
    let rgb = picture.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Ok(Rgb { bytes: rgb.into_raw(), width, height })
}

fn check_size(width: u64, height: u64) -> Result<(), ImageError> {
    if width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS {
        return Err(ImageError::TooLarge { width, height });
    }
    Ok(())
}

/// The format by its magic number.
fn sniff(bytes: &[u8]) -> Result<(ImageFormat, &'static str), ImageError> {
    let known = match bytes {
        [0xff, 0xd8, 0xff, ..] => return Ok((ImageFormat::Jpeg, "JPEG")),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => return Ok((ImageFormat::Png, "PNG")),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => return Ok((ImageFormat::WebP, "WebP")),
        [b'G', b'I', b'F', b'8', ..] => "this is a GIF",
        [b'B', b'M', ..] => "this is a BMP",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "this is a TIFF",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "this is an AVIF, HEIC or MP4 file",
        [b'<', ..] => "this is SVG, XML or HTML",
        [b'%', b'P', b'D', b'F', ..] => "this is a PDF",
        [] => return Err(ImageError::Empty),
        _ => "these bytes are no picture that is known",
    };
    Err(ImageError::Format(known.to_owned()))
}

/// Width and height as the first chunk of a PNG file states them.
fn png_size(bytes: &[u8]) -> Option<[u64; 2]> {
    let header = bytes.get(12..24)?;
    let number = |at: usize| Some(u64::from(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?)));
    (header.get(..4)? == b"IHDR").then_some([number(4)?, number(8)?])
}

/// Whether a JPEG file reaches its end-of-image marker (ITU-T T.81, annex B), not counting one in an embedded thumbnail.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    let mut in_scan = false;
    while let Some(&[first, marker]) = bytes.get(at..at + 2).and_then(|pair| pair.first_chunk()) {
        match (first, marker) {
            (0xff, 0xd9) => return true,
            // Fill bytes, stuffed zeros and restart markers carry no segment.
            (0xff, 0xff) => at += 1,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4).and_then(|pair| pair.first_chunk()) else {
                    return false;
                };
                in_scan = marker == 0xda;
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
            _ if in_scan => {
                // Entropy-coded data: on to the next marker.
                match bytes[at..].iter().position(|&byte| byte == 0xff) {
                    Some(offset) => at += offset,
                    None => return false,
                }
            }
            // Stray bytes between segments, which decoders skip too.
            _ => at += 1,
        }
    }
    false
}
