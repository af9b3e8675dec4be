//! What is read of a request's text, the limits, and what is said about broken pictures.

use super::*;

const PREPROCESS: Preprocess =
    Preprocess { scale_to: 64, side: 64, rounding: CropRounding::Floor, mean: [0.5; 3], std: [0.5; 3] };

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// The first bytes of a PNG that claims a size.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend(b"\x08\x02\0\0\0\0\0\0\0");
    bytes
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn sample(name: &str) -> &'static [u8] {
    samples().iter().find(|sample| sample.name == name).unwrap().bytes
}

#[test]
fn every_way_to_say_the_same_picture() {
    let cat = samples()[0].bytes;
    let plain = PREPROCESS.decode(cat).unwrap();
    let encoded = base64(cat);
    let wrapped: String =
        encoded.as_bytes().chunks(76).flat_map(|line| [line, b"\r\n"]).flatten().map(|&b| b as char).collect();
    for text in [
        "dummy_image_data".to_owned(),
        "sample:cat".to_owned(),
        format!("data:image/jpeg;base64,{encoded}"),
        format!("DATA:image/jpeg;name=cat.jpg;base64,{encoded}"),
        encoded.trim_end_matches('=').to_owned(),
        wrapped,
        format!("  {encoded}\n"),
    ] {
        assert_eq!(PREPROCESS.read(&text).unwrap().rgb(), plain.rgb(), "{}", &text[..20]);
    }
}

#[test]
fn every_sample_decodes_in_every_format() {
    for sample in samples() {
        let pixels = PREPROCESS.decode(sample.bytes).unwrap();
        assert_eq!((pixels.side(), pixels.rgb().len()), (64, 64 * 64 * 3), "{}", sample.name);
    }
}

#[test]
fn a_huge_picture_is_refused_by_its_header() {
    for (width, height) in [(30_000, 30_000), (8_193, 1), (1, 8_193), (7_000, 7_000), (u32::MAX, u32::MAX)] {
        let error = PREPROCESS.read(&base64(&png_header(width, height))).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{width}×{height}: {error}");
        assert_eq!(error.code(), ProblemCode::ImageTooLarge);
    }
    assert_eq!(PREPROCESS.decode(&png_header(100, 100)).unwrap_err().code(), ProblemCode::UndecodableImage);
}

#[test]
fn very_long_pictures_stay_cheap() {
    for (width, height) in [(8_192, 1), (1, 8_192), (8_192, 2)] {
        assert_eq!(PREPROCESS.decode(&png(width, height)).unwrap().rgb().len(), 64 * 64 * 3);
    }
}

#[test]
fn a_cut_file_is_said_to_be_cut() {
    for (name, format) in [("cat", "JPEG"), ("binoculars", "PNG"), ("coffee", "WebP")] {
        let whole = sample(name);
        for part in [whole.len() / 3, whole.len() / 2, whole.len() - 40] {
            let error = PREPROCESS.decode(&whole[..part]).unwrap_err();
            assert_eq!(error.code(), ProblemCode::UndecodableImage, "{name}");
            assert!(error.to_string().contains(format), "{error}");
        }
    }
    let jpeg = sample("cat");
    for part in [3, 20, 200, jpeg.len() / 2, jpeg.len() - 2] {
        let error = PREPROCESS.decode(&jpeg[..part]).unwrap_err();
        assert_eq!(error.code(), ProblemCode::UndecodableImage, "{part} bytes: {error}");
    }
}

#[test]
fn noise_in_a_picture_never_panics() {
    for name in ["cat", "binoculars", "coffee"] {
        let whole = sample(name);
        for seed in 0..60usize {
            let mut bytes = whole.to_vec();
            for step in 0..6 {
                let at = (seed * 7_919 + step * 104_729) % bytes.len();
                bytes[at] = bytes[at].wrapping_add((seed * 31 + step) as u8 | 1);
            }
            // Either outcome is right; it must be one of them.
            drop(PREPROCESS.decode(&bytes));
        }
    }
}

#[test]
fn other_formats_are_named() {
    for (bytes, name) in [
        (&b"GIF89a......"[..], "GIF"),
        (b"BM..........", "BMP"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"<svg xmlns=''>", "SVG"),
        (b"%PDF-1.7....", "PDF"),
        (b"hello", "no picture"),
    ] {
        let error = PREPROCESS.read(&base64(bytes)).unwrap_err();
        assert!(error.to_string().contains(name) && error.to_string().contains("JPEG, PNG and WebP"), "{error}");
        assert_eq!(error.code(), ProblemCode::UndecodableImage);
    }
    for text in ["data:image/png,xyz", "data:image/png;base64", "data:", "dat", "htt", "äöü"] {
        assert_eq!(PREPROCESS.read(text).unwrap_err().code(), ProblemCode::UndecodableImage, "{text}");
    }
    assert!(matches!(PREPROCESS.read("HTTPS://x"), Err(ImageError::RemoteUrl)));
    let error = PREPROCESS.read("sample:unicorn").unwrap_err().to_string();
    assert!(error.contains("unicorn") && error.contains("cat"), "{error}");
}

#[test]
fn transparent_and_grey_pictures_become_rgb() {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let rgba = image::RgbaImage::from_pixel(64, 64, image::Rgba([10, 20, 30, 0]));
    rgba.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    // As Pillow's convert("RGB"): transparency is dropped, nothing is blended.
    assert_eq!(PREPROCESS.decode(&bytes.into_inner()).unwrap().rgb()[..3], [10, 20, 30]);
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::GrayImage::from_pixel(64, 64, image::Luma([99])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    assert_eq!(PREPROCESS.decode(&bytes.into_inner()).unwrap().rgb()[..3], [99, 99, 99]);
}

#[test]
fn an_odd_margin_is_split_as_each_library_does() {
    let margins = |rounding: CropRounding| [1, 2, 3, 4, 5, 7].map(|excess| rounding.margin(excess));
    assert_eq!(margins(CropRounding::Floor), [0, 1, 1, 2, 2, 3]);
    // Python's round(): 0.5 → 0, 1.5 → 2, 2.5 → 2, 3.5 → 4.
    assert_eq!(margins(CropRounding::HalfEven), [0, 1, 2, 2, 2, 4]);
}

#[test]
fn normalisation_is_per_channel() {
    let preprocess = Preprocess { mean: [0.0, 0.5, 1.0], std: [1.0, 0.5, 0.25], ..PREPROCESS };
    let pixels = preprocess.decode(&png(64, 64)).unwrap();
    let numbers = normalised(&Compute::new(1), &[&pixels, &pixels]).unwrap();
    assert_eq!(numbers.dims()[0], 2);
    let numbers: Vec<f32> = numbers.flatten_all().unwrap().to_vec1().unwrap();
    let [r, g, b] = [pixels.rgb()[0], pixels.rgb()[1], pixels.rgb()[2]].map(|x| f32::from(x) / 255.0);
    assert!((numbers[0] - r).abs() < 1e-6);
    assert!((numbers[1] - (g - 0.5) / 0.5).abs() < 1e-6);
    assert!((numbers[2] - (b - 1.0) / 0.25).abs() < 1e-6);
}
