//! Safe wrapper of the system libtdb: the only crate that calls it.
