//! The screens, and what keys do to them.

mod behaviour;
mod fixtures;
mod pictures;
mod properties;
mod screens;
