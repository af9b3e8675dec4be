//! The small models against PyTorch's answers (`golden.json`), and the engine as a worker uses it.

mod engine;
mod full_size;
mod golden;
