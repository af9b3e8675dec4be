//! Text to token ids, as the model's own files say: `tokenizer.json`, or BERT's `vocab.txt` where there is no such file.

use serde::Deserialize;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer, TruncationParams};

use super::source::{Files, FilesError};

/// Why there is no tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// One of its files can't be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A file is not what its name says.
    #[error("{file}: {reason}")]
    Format {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Token ids reach beyond the embedding table.
    #[error("the tokenizer has token id {id}, the embedding table only {rows} rows: these files don't belong together")]
    Vocabulary {
        /// Highest token id.
        id: u32,
        /// Rows of the embedding table.
        rows: usize,
    },
}

/// A text tokenizer with the model's special tokens and length limit.
pub struct Tokenizer {
    inner: HfTokenizer,
}

/// Token ids of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// With the special tokens at both ends.
    pub ids: Vec<u32>,
    /// The text was longer than the model takes and its end was cut off.
    pub truncated: bool,
}

/// What of `tokenizer_config.json` matters to `vocab.txt`.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    do_lower_case: bool,
    unk_token: String,
    cls_token: String,
    sep_token: String,
    pad_token: String,
    mask_token: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            do_lower_case: true,
            unk_token: "[UNK]".to_owned(),
            cls_token: "[CLS]".to_owned(),
            sep_token: "[SEP]".to_owned(),
            pad_token: "[PAD]".to_owned(),
            mask_token: "[MASK]".to_owned(),
        }
    }
}

impl Tokenizer {
    /// Reads the tokenizer of a model that takes `max_tokens` and has an embedding table of `rows`.
    pub fn load(files: &Files, max_tokens: usize, rows: usize) -> Result<Self, TokenizerError> {
        let mut inner = match files.optional("tokenizer.json")? {
            Some(json) => HfTokenizer::from_bytes(&json).map_err(|error| format_error("tokenizer.json", &*error))?,
            None => from_vocabulary(files)?,
        };
        if let Some(id) = inner.get_vocab(true).into_values().max().filter(|&id| id as usize >= rows) {
            return Err(TokenizerError::Vocabulary { id, rows });
        }
        inner.with_padding(None);
        inner
            .with_truncation(Some(TruncationParams { max_length: max_tokens, ..TruncationParams::default() }))
            .map_err(|error| format_error("tokenizer.json", &*error))?;
        Ok(Self { inner })
    }

    /// Token ids of one text.
    pub fn encode(&self, text: &str) -> Result<Tokens, String> {
        let encoding = self.inner.encode_fast(text, true).map_err(|error| error.to_string())?;
        Ok(Tokens { ids: encoding.get_ids().to_vec(), truncated: !encoding.get_overflowing().is_empty() })
    }
}

/// BERT's own format: one piece a line, its line number is its id.
fn from_vocabulary(files: &Files) -> Result<HfTokenizer, TokenizerError> {
    let config: Config = match files.optional("tokenizer_config.json")? {
        Some(json) => serde_json::from_slice(&json).map_err(|error| format_error("tokenizer_config.json", &error))?,
        None => Config::default(),
    };
    let vocabulary = files.required("vocab.txt")?;
    let vocabulary = WordPiece::read_bytes(&vocabulary).map_err(|error| format_error("vocab.txt", &*error))?;
    let id = |token: &str| {
        vocabulary.get(token).copied().ok_or_else(|| TokenizerError::Format {
            file: "vocab.txt",
            reason: format!("the special token {token} is not in it"),
        })
    };
    let special =
        vec![(config.cls_token.clone(), id(&config.cls_token)?), (config.sep_token.clone(), id(&config.sep_token)?)];
    let model = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token(config.unk_token.clone())
        .build()
        .map_err(|error| format_error("vocab.txt", &*error))?;
    let template = TemplateProcessing::builder()
        .try_single(format!("{} $A {}", config.cls_token, config.sep_token))
        .map_err(|error| TokenizerError::Format { file: "tokenizer_config.json", reason: error.clone() })?
        .special_tokens(special)
        .build()
        .map_err(|error| format_error("tokenizer_config.json", &error))?;
    let mut tokenizer = HfTokenizer::new(model);
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, true, None, config.do_lower_case)))
        .map_err(|error| format_error("vocab.txt", &*error))?
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(template));
    let specials = [&config.unk_token, &config.cls_token, &config.sep_token, &config.pad_token, &config.mask_token]
        .map(|token| AddedToken::from(token.clone(), true));
    tokenizer.add_special_tokens(specials).map_err(|error| format_error("vocab.txt", &*error))?;
    Ok(tokenizer)
}

fn format_error(file: &'static str, reason: &(dyn std::error::Error + '_)) -> TokenizerError {
    TokenizerError::Format { file, reason: reason.to_string() }
}
