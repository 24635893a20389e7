//! Finds the distribution's libtdb.

fn main() {
    // tdb_traverse_chain, by which a database is walked in slices, came with 1.3.17.
    if let Err(error) = pkg_config::Config::new().atleast_version("1.3.17").probe("tdb") {
        eprintln!(
            "libtdb 1.3.17 or newer with its headers is needed: install libtdb-dev and pkg-config\n{error}"
        );
        std::process::exit(1);
    }
}
