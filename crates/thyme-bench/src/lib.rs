//! Thyme.
