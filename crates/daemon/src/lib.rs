//! ctdbd as a library.
