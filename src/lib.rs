//! aiq
