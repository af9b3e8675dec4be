//! Inputs of the two CLIP tasks: a text with texts to compare it with, or with pictures to search.

use std::collections::HashMap;
use std::sync::Arc;

use super::image::Pixels;
use super::model::Cost;

/// What `clip_text_similarity` compares with when no candidates are given.
pub const DEFAULT_CANDIDATES: [&str; 20] = [
    "a photo of a cat",
    "a photo of a dog",
    "a photo of a bird",
    "a photo of a horse",
    "a photo of a wild animal",
    "a photo of an insect",
    "a photo of a person",
    "a group of people",
    "a photo of food",
    "a photo of fruit",
    "a cup of coffee",
    "a car",
    "a bicycle",
    "an airplane",
    "a boat on the water",
    "a city street",
    "a house",
    "a beach by the sea",
    "a mountain landscape",
    "a computer on a desk",
];

/// A text on its way into the joint space.
#[derive(Clone, Debug)]
pub struct Phrase {
    /// As it was sent.
    pub text: Arc<str>,
    /// It was longer than the model takes, and its end was cut off.
    pub truncated: bool,
    pub(super) state: PhraseState,
}

/// How far a text has come.
#[derive(Clone, Debug)]
pub(super) enum PhraseState {
    /// It was embedded before.
    Embedded(Arc<[f32]>),
    /// Token ids up to the end of text.
    Tokens(Vec<u32>),
}

impl Phrase {
    fn tokens(&self) -> usize {
        match &self.state {
            PhraseState::Embedded(_) => 0,
            PhraseState::Tokens(ids) => ids.len(),
        }
    }
}

/// Input of `clip_text_similarity`.
#[derive(Clone, Debug)]
pub struct Similarity {
    /// What is compared.
    pub query: Phrase,
    /// With what; no text twice.
    pub candidates: Vec<Phrase>,
}

impl Similarity {
    pub(super) fn cost(&self) -> Cost {
        let candidates: usize = self.candidates.iter().map(Phrase::tokens).sum();
        Cost { tokens: self.query.tokens() + candidates, pictures: 0 }
    }
}

/// Input of `clip_text_to_image`.
#[derive(Clone, Debug)]
pub struct Search {
    /// What is searched for.
    pub query: Phrase,
    /// Where.
    pub pictures: Pictures,
}

/// The pictures that are searched.
#[derive(Clone, Debug)]
pub enum Pictures {
    /// The sample pictures that ship with aiq.
    Gallery,
    /// Those of the request, in its order.
    Given(Vec<Pixels>),
}

impl Search {
    pub(super) fn cost(&self) -> Cost {
        let pictures = match &self.pictures {
            Pictures::Gallery => 0,
            Pictures::Given(pictures) => pictures.len(),
        };
        Cost { tokens: self.query.tokens(), pictures }
    }
}

/// Embeddings of texts that came before: bounded, and what was not used lately goes first.
///
/// Two generations instead of a list in order of use: a hit moves an entry to the young one; when that is full it becomes
/// the old one, and what was still in the old one is forgotten.
#[derive(Default)]
pub(super) struct PhraseCache {
    young: HashMap<Arc<str>, Arc<[f32]>>,
    old: HashMap<Arc<str>, Arc<[f32]>>,
}

impl PhraseCache {
    /// Texts in one generation.
    const GENERATION: usize = 1_024;
    /// Longer texts are not kept, so that the cache's size is known.
    const MAX_BYTES: usize = 512;

    pub(super) fn get(&mut self, text: &str) -> Option<Arc<[f32]>> {
        if let Some(embedding) = self.young.get(text) {
            return Some(Arc::clone(embedding));
        }
        let (text, embedding) = self.old.remove_entry(text)?;
        self.insert(text, Arc::clone(&embedding));
        Some(embedding)
    }

    pub(super) fn insert(&mut self, text: Arc<str>, embedding: Arc<[f32]>) {
        if text.len() > Self::MAX_BYTES {
            return;
        }
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text, embedding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let mut cache = PhraseCache::default();
        let embedding: Arc<[f32]> = Arc::new([1.0]);
        cache.insert("hot".into(), Arc::clone(&embedding));
        for index in 0..5 * PhraseCache::GENERATION {
            cache.insert(format!("{index}").into(), Arc::clone(&embedding));
            assert!(cache.get("hot").is_some(), "after {index} others");
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * PhraseCache::GENERATION);
        assert!(cache.get("0").is_none());
        cache.insert("x".repeat(10_000).into(), embedding);
        assert!(cache.get(&"x".repeat(10_000)).is_none());
    }
}
