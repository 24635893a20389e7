//! Single-threaded executor and reactor on mio, with a second, virtual back end under a seed.
