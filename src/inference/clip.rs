//! CLIP (Radford et al. 2021) in Hugging Face's `CLIPModel` layout, for `clip_text_similarity` and `clip_text_to_image`.
//!
//! Two towers into one space: `text` and, for pictures, `vision` (the transformer of ViT-B/32) or a linear map over the
//! pooled features of MobileNetV2, which is what the small model has (the paper has convolutional towers too). Here are
//! the tasks on top: similarities, ranking, the gallery of sample pictures and the cache of candidates.

mod config;
mod text;
mod vision;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub(super) use self::config::Config;
#[cfg(test)]
pub(super) use self::config::{TextConfig, VisionConfig};
pub(super) use self::text::TextTower;
use self::vision::PictureTower;
pub(super) use self::vision::VisionTransformer;
use super::image::{Pixels, samples};
use super::model::{Answer, Card, Context, InferenceError, Input, Model, Prepared, all_failed, rank, softmax};
use super::request::{InputError, Request};
use super::search::{DEFAULT_CANDIDATES, Phrase, PhraseCache, PhraseState, Pictures, Search, Similarity};
use super::source::{Files, LoadError, Loader};
use super::tokenizer::Tokenizer;
use crate::protocol::{Scores, TaskType};

/// Width and layers of the full-size text tower: anything smaller is a stand-in.
const FULL_SIZE: (usize, usize) = (512, 12);

/// Both towers, their preprocessing, and what is remembered of earlier inputs.
pub(super) struct Clip {
    card: Card,
    tokenizer: Tokenizer,
    text: TextTower,
    pictures: PictureTower,
    /// `exp(logit_scale)`: what cosines are multiplied by before the softmax.
    scale: f32,
    candidates: Mutex<PhraseCache>,
    gallery: OnceLock<Gallery>,
}

/// The sample pictures in the joint space.
struct Gallery {
    names: Vec<String>,
    embeddings: Vec<Arc<[f32]>>,
}

/// Loads a model from its files.
pub(super) fn load(files: &Files, loader: &Loader) -> Result<Clip, LoadError> {
    let config: Config = files.config("config.json")?;
    let weights = files.weights()?;
    let text = TextTower::load(&weights, &config.text, config.projection_dim, loader.place())?;
    let tokenizer = Tokenizer::load(files, config.text.max_position_embeddings, text.vocabulary())?;
    let pictures = PictureTower::load(&weights, &config, files, loader)?;
    let scale = weights.vector("logit_scale")?.first().copied().unwrap_or_default().exp();
    let degraded = (config.text.hidden_size, config.text.num_hidden_layers) < FULL_SIZE;
    Ok(Clip {
        card: Card::new("CLIP-ViT-B/32", files.reference(), degraded),
        tokenizer,
        text,
        pictures,
        scale,
        candidates: Mutex::default(),
        gallery: OnceLock::new(),
    })
}

impl Clip {
    fn cache(&self) -> MutexGuard<'_, PhraseCache> {
        self.candidates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phrase(&self, request: &Request<'_>, field: &str, text: &str) -> Result<Phrase, InputError> {
        if let Some(embedding) = self.cache().get(text) {
            return Ok(Phrase { text: text.into(), truncated: false, state: PhraseState::Embedded(embedding) });
        }
        let mut tokens = request.tokens(&self.tokenizer, field, text)?;
        tokens.ids.truncate(text::end_of_text(&tokens.ids) + 1);
        Ok(Phrase { text: text.into(), truncated: tokens.truncated, state: PhraseState::Tokens(tokens.ids) })
    }

    /// Embeddings of pictures, in their order.
    pub(super) fn embed_pictures(
        &self,
        context: &mut Context,
        pictures: &[&Pixels],
    ) -> Result<Vec<Arc<[f32]>>, InferenceError> {
        let width = self.text.projection();
        let rows = self.pictures.forward(context, pictures)?;
        Ok(rows.chunks_exact(width).map(normalised).collect())
    }

    /// Embeddings of token sequences, in their order.
    pub(super) fn embed_texts(
        &self,
        context: &mut Context,
        texts: &[&[u32]],
    ) -> Result<Vec<Arc<[f32]>>, InferenceError> {
        let rows = self.text.forward(context, texts)?;
        Ok(rows.chunks_exact(self.text.projection()).map(normalised).collect())
    }

    fn gallery(&self, context: &mut Context) -> Result<&Gallery, InferenceError> {
        if let Some(gallery) = self.gallery.get() {
            return Ok(gallery);
        }
        let preprocess = self.pictures.preprocess();
        let (names, pixels): (Vec<_>, Vec<_>) = samples()
            .iter()
            // They are part of the binary and a test decodes each of them.
            .filter_map(|sample| Some((sample.name.clone(), preprocess.decode(sample.bytes).ok()?)))
            .unzip();
        let pictures: Vec<&Pixels> = pixels.iter().collect();
        let embeddings = self.embed_pictures(context, &pictures)?;
        Ok(self.gallery.get_or_init(|| Gallery { names, embeddings }))
    }

    /// Names with the cosine of each, as an answer.
    fn answer(
        &self,
        names: &[String],
        cosines: &[f64],
        task: TaskType,
        top_k: usize,
    ) -> Result<Answer, InferenceError> {
        let logits: Vec<f32> = cosines.iter().map(|cosine| self.scale * *cosine as f32).collect();
        let probabilities = softmax(&logits)?;
        let mut answer = Answer::classes(rank(names, &probabilities), top_k);
        let similarities = rank(names, cosines);
        if task == TaskType::ClipTextSimilarity {
            // Of two texts the cosine itself is the measure; the scale was trained for text against pictures.
            answer.confidence = similarities.first().map_or(0.0, |(_, cosine)| *cosine);
        }
        answer.similarities = Some(Scores(similarities));
        Ok(answer)
    }

    fn answer_one(
        &self,
        context: &mut Context,
        prepared: &Prepared,
        found: &mut Found,
    ) -> Result<Answer, InferenceError> {
        let (names, query, embeddings) = match &prepared.input {
            Input::Similarity(Similarity { query, candidates }) => {
                let names = candidates.iter().map(|candidate| candidate.text.to_string()).collect();
                let query = found.text(query);
                (names, query, candidates.iter().map(|candidate| found.text(candidate)).collect())
            }
            Input::Search(Search { query, pictures }) => {
                let query = found.text(query);
                match pictures {
                    Pictures::Gallery => {
                        let gallery = self.gallery(context)?;
                        (gallery.names.clone(), query, gallery.embeddings.clone())
                    }
                    Pictures::Given(given) => {
                        let names = (0..given.len()).map(|index| format!("image {index}")).collect();
                        (names, query, found.pictures.by_ref().take(given.len()).collect())
                    }
                }
            }
            Input::Text(_) | Input::Picture(_) | Input::Nothing => return Err(InferenceError::Foreign),
        };
        let names: Vec<String> = names;
        let embeddings: Vec<Arc<[f32]>> = embeddings;
        let cosines: Vec<f64> = embeddings.iter().map(|embedding| cosine(&query, embedding)).collect();
        self.answer(&names, &cosines, prepared.task, prepared.top_k())
    }
}

/// Embeddings computed for a batch, handed out in the order in which its inputs were gone through.
struct Found {
    texts: std::vec::IntoIter<Arc<[f32]>>,
    pictures: std::vec::IntoIter<Arc<[f32]>>,
}

impl Found {
    fn text(&mut self, phrase: &Phrase) -> Arc<[f32]> {
        match &phrase.state {
            PhraseState::Embedded(embedding) => Arc::clone(embedding),
            PhraseState::Tokens(_) => self.texts.next().unwrap_or_else(|| Arc::new([])),
        }
    }
}

impl Model for Clip {
    fn card(&self) -> &Card {
        &self.card
    }

    fn prepare(&self, request: &Request<'_>) -> Result<Input, InputError> {
        let query = self.phrase(request, "data", request.data)?;
        if request.task == TaskType::ClipTextToImage {
            let images = request.items("images", request.options.images.as_ref())?;
            let pictures = match images {
                None => Pictures::Gallery,
                Some(images) => {
                    let preprocess = self.pictures.preprocess();
                    let read = |(index, image): (usize, &String)| {
                        request.picture(&format!("options.images[{index}]"), image, preprocess)
                    };
                    Pictures::Given(images.iter().enumerate().map(read).collect::<Result<_, _>>()?)
                }
            };
            return Ok(Input::Search(Search { query, pictures }));
        }
        let given = request.items("candidates", request.options.candidates.as_ref())?;
        let texts: Vec<&str> = match given {
            Some(given) => given.iter().map(String::as_str).collect(),
            None => DEFAULT_CANDIDATES.to_vec(),
        };
        let mut candidates = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            if !texts[..index].contains(text) {
                candidates.push(self.phrase(request, &format!("options.candidates[{index}]"), text)?);
            }
        }
        Ok(Input::Similarity(Similarity { query, candidates }))
    }

    fn run(&self, batch: &[&Prepared], context: &mut Context) -> Vec<Result<Answer, InferenceError>> {
        let mut phrases: Vec<(&Phrase, Keep)> = Vec::new();
        let mut pictures: Vec<&Pixels> = Vec::new();
        for prepared in batch {
            match &prepared.input {
                Input::Similarity(Similarity { query, candidates }) => {
                    phrases.push((query, Keep::No));
                    phrases.extend(candidates.iter().map(|candidate| (candidate, Keep::Yes)));
                }
                Input::Search(Search { query, pictures: searched }) => {
                    phrases.push((query, Keep::No));
                    if let Pictures::Given(given) = searched {
                        pictures.extend(given);
                    }
                }
                Input::Text(_) | Input::Picture(_) | Input::Nothing => {}
            }
        }
        let mut tokens: Vec<&[u32]> = Vec::new();
        let mut keep: Vec<Option<&Phrase>> = Vec::new();
        for (phrase, wanted) in phrases {
            if let PhraseState::Tokens(ids) = &phrase.state {
                tokens.push(ids);
                keep.push((wanted == Keep::Yes).then_some(phrase));
            }
        }
        let texts = match self.embed_texts(context, &tokens) {
            Ok(texts) => texts,
            Err(error) => return all_failed(batch, &error),
        };
        {
            let mut cache = self.cache();
            for (phrase, embedding) in keep.into_iter().zip(&texts) {
                if let Some(phrase) = phrase {
                    cache.insert(Arc::clone(&phrase.text), Arc::clone(embedding));
                }
            }
        }
        let pictures = match self.embed_pictures(context, &pictures) {
            Ok(pictures) => pictures,
            Err(error) => return all_failed(batch, &error),
        };
        let mut found = Found { texts: texts.into_iter(), pictures: pictures.into_iter() };
        batch.iter().map(|prepared| self.answer_one(context, prepared, &mut found)).collect()
    }

    fn warm_up(&self, context: &mut Context) {
        // Where that fails, the first search says so.
        let _ = self.gallery(context);
    }
}

/// Whether a text's embedding is remembered: candidates come again, queries hardly do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

/// A row divided by its length.
fn normalised(row: &[f32]) -> Arc<[f32]> {
    let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    row.iter().map(|x| x / length).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    // Of a text with itself, rounding would make it a little more than one.
    f64::from(a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>()).clamp(-1.0, 1.0)
}
