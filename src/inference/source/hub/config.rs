//! Where the hub and its cache are, from the variables that all of Hugging Face's tools honour.

use std::path::PathBuf;

/// The hub itself.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where the hub and its cache are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// `HF_ENDPOINT`: the hub, or a mirror of it.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or in the user's cache folder.
    pub cache: PathBuf,
    /// `HF_HUB_OFFLINE`: only the cache is used.
    pub offline: bool,
    /// `HF_TOKEN`: who asks. Without it a token that Python's tools stored is used.
    pub token: Option<String>,
    /// A proxy is set: then the hub itself need not be reachable from here.
    pub proxied: bool,
}

impl HubConfig {
    /// Reads the environment.
    pub fn from_env() -> Self {
        Self::from(|name| std::env::var(name).ok())
    }

    /// Reads variables through `variable`; empty ones count as not set.
    fn from(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let user_cache =
            || folder("XDG_CACHE_HOME").unwrap_or_else(|| folder("HOME").unwrap_or_default().join(".cache"));
        let home = || folder("HF_HOME").unwrap_or_else(|| user_cache().join("huggingface"));
        let switched_on = |value: String| ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str());
        let proxies = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
        Self {
            endpoint: variable("HF_ENDPOINT")
                .map_or_else(|| DEFAULT_ENDPOINT.to_owned(), |url| url.trim_end_matches('/').to_owned()),
            cache: folder("HF_HUB_CACHE").unwrap_or_else(|| home().join("hub")),
            offline: variable("HF_HUB_OFFLINE").is_some_and(switched_on),
            token: variable("HF_TOKEN"),
            proxied: proxies.iter().any(|name| variable(name).is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> HubConfig {
        HubConfig::from(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn defaults_are_those_of_huggingface_hub() {
        let found = config(&[("HOME", "/home/me")]);
        assert_eq!(found.endpoint, "https://huggingface.co");
        assert_eq!(found.cache, PathBuf::from("/home/me/.cache/huggingface/hub"));
        assert!(!found.offline && found.token.is_none() && !found.proxied);
    }

    #[test]
    fn each_variable_is_honoured() {
        let cache = |variables: &[(&str, &str)]| config(variables).cache;
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HOME", "/home/me")]), PathBuf::from("/hf/hub"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/hf")]), PathBuf::from("/c"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/huggingface/hub"));
        assert_eq!(config(&[("HF_ENDPOINT", "http://mirror:8080/")]).endpoint, "http://mirror:8080");
        for (value, offline) in [("1", true), ("TRUE", true), ("on", true), ("0", false), ("", false)] {
            assert_eq!(config(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
        assert_eq!(config(&[("HF_TOKEN", "secret")]).token.as_deref(), Some("secret"));
    }
}
