//! Names of the 1,000 classes of ImageNet-1k, for checkpoints that come without them.

/// One name a line, in the order of the classes. The source is named in `assets/labels/README.md`.
const IMAGENET: &str = include_str!("../../assets/labels/imagenet-1k.txt");

/// The names in the order of the classes.
pub(super) fn imagenet_labels() -> Vec<&'static str> {
    IMAGENET.lines().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_a_thousand_names_in_the_known_order() {
        let labels = imagenet_labels();
        assert_eq!(labels.len(), 1000);
        assert!(labels[0].starts_with("tench"));
        assert!(labels[285].starts_with("Egyptian cat"));
        assert!(labels[999].starts_with("toilet"));
        assert!(labels.iter().all(|label| !label.trim().is_empty()));
    }
}
