//! From what a person typed to a request: texts, files, standard input.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cli::InferTask;
use crate::protocol::{InferRequest, TaskType};

/// Largest picture file that is sent, in bytes: what a coordinator accepts.
const MAX_PICTURE_BYTES: u64 = 8 << 20;

/// Makes the request.
pub(super) fn request(task: &InferTask) -> anyhow::Result<InferRequest> {
    Ok(match task {
        InferTask::Text { text } => InferRequest::new(TaskType::TextClassification, text_of(text)?),
        InferTask::Image { file } => InferRequest::new(TaskType::ImageClassification, image_of(file)?),
        InferTask::Similarity { query, candidates } => {
            let mut request = InferRequest::new(TaskType::ClipTextSimilarity, text_of(query)?);
            request.options.candidates = (!candidates.is_empty()).then(|| candidates.clone());
            request
        }
        InferTask::Search { query, images } => {
            let mut request = InferRequest::new(TaskType::ClipTextToImage, text_of(query)?);
            let images = images.iter().map(|i| image_of(i)).collect::<anyhow::Result<Vec<_>>>()?;
            request.options.images = (!images.is_empty()).then_some(images);
            request
        }
    })
}

/// The text itself, `-` for standard input, `@FILE` for a file.
fn text_of(argument: &str) -> anyhow::Result<String> {
    let limit = InferRequest::MAX_TEXT_BYTES as u64 + 1;
    let mut text = String::new();
    if argument == "-" {
        std::io::stdin().take(limit).read_to_string(&mut text).context("can't read standard input as UTF-8 text")?;
    } else if let Some(path) = argument.strip_prefix('@') {
        let file = std::fs::File::open(path).with_context(|| format!("can't open {path}"))?;
        file.take(limit).read_to_string(&mut text).with_context(|| format!("can't read {path} as UTF-8 text"))?;
    } else {
        text.push_str(argument);
    }
    Ok(text)
}

/// A picture file as base64; what names a picture without a file goes as it is.
fn image_of(argument: &str) -> anyhow::Result<String> {
    if argument.starts_with("sample:") || argument.starts_with("data:") || argument == "dummy_image_data" {
        return Ok(argument.to_owned());
    }
    let path = Path::new(argument);
    let meta = std::fs::metadata(path)
        .with_context(|| format!("can't read {argument} (a picture file, or sample:NAME, such as sample:cat)"))?;
    if !meta.is_file() {
        bail!("{argument} is not a file; give a JPEG, PNG or WebP picture");
    }
    if meta.len() > MAX_PICTURE_BYTES {
        bail!("{argument} has {} bytes; pictures of up to {MAX_PICTURE_BYTES} are accepted", meta.len());
    }
    Ok(STANDARD.encode(std::fs::read(path).with_context(|| format!("can't read {argument}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sent_as_base64() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.png");
        std::fs::write(&path, b"\x89PNG").unwrap();
        let task = InferTask::Image { file: path.to_str().unwrap().to_owned() };
        assert_eq!(request(&task).unwrap().data, "iVBORw==");
    }

    #[test]
    fn what_is_no_file_is_said() {
        let message = format!("{:#}", request(&InferTask::Image { file: "/no/such.jpg".into() }).unwrap_err());
        assert!(message.contains("/no/such.jpg") && message.contains("sample:NAME"), "{message}");
        let dir = tempfile::tempdir().unwrap();
        let folder = InferTask::Image { file: dir.path().to_str().unwrap().to_owned() };
        assert!(request(&folder).unwrap_err().to_string().contains("not a file"));
    }

    #[test]
    fn a_text_can_come_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.txt");
        std::fs::write(&path, "good").unwrap();
        let task = InferTask::Text { text: format!("@{}", path.display()) };
        assert_eq!(request(&task).unwrap().data, "good");
    }
}
