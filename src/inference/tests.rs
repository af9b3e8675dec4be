//! The small models against PyTorch's answers (`golden.json`), the engine as a worker uses it, and models that are not
//! what they say.

mod checkpoint;
mod engine;
mod full_size;
mod golden;
mod malformed;
