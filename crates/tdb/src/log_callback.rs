//! What libtdb has to say, sent to the `log` crate with the name of the database.

use std::ffi::CStr;
use std::sync::Arc;

use libc::{c_char, c_int};
use log::Level;

use crate::ffi::{self, LogWord, LoggingContext, TdbContext};

/// Owned by the open database; libtdb keeps a pointer to it.
pub(crate) struct LogSource {
    pub database: Arc<str>,
}

impl LogSource {
    /// The structure libtdb copies on open. `self` must outlive the database and stay in its place.
    pub(crate) fn context(&self) -> LoggingContext {
        LoggingContext {
            log_fn: log_message,
            log_private: std::ptr::from_ref(self).cast_mut().cast(),
        }
    }
}

/// Longest message that is shown; libtdb's are far shorter but for long paths.
const MESSAGE_LEN_MAX: usize = 1024;

/// libtdb calls this as `log_fn(tdb, level, format, ...)`.
///
/// Its variable arguments are integers and pointers, never floating point, at most eight. Linux on
/// x86_64 and aarch64 passes such arguments exactly as if they were declared, so they are declared;
/// those that a message does not have are whatever the registers and the caller's stack frame hold,
/// and the format does not ask for them.
#[allow(clippy::too_many_arguments)]
unsafe extern "C" fn log_message(
    tdb: *mut TdbContext,
    level: c_int,
    format: *const c_char,
    a: LogWord,
    b: LogWord,
    c: LogWord,
    d: LogWord,
    e: LogWord,
    f: LogWord,
    g: LogWord,
    h: LogWord,
    i: LogWord,
    j: LogWord,
) {
    let level = match level {
        0 | 1 => Level::Error,
        2 => Level::Warn,
        _ => Level::Debug,
    };
    if !log::log_enabled!(target: "tdb", level) {
        return;
    }
    let mut text = [0_u8; MESSAGE_LEN_MAX];
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        // SAFETY: the buffer has the given length, the format is one of libtdb's own and the words are
        // the arguments it belongs to.
        unsafe {
            libc::snprintf(
                text.as_mut_ptr().cast(),
                text.len(),
                format,
                a,
                b,
                c,
                d,
                e,
                f,
                g,
                h,
                i,
                j,
            )
        };
    } else {
        // SAFETY: as above; the message is shown with its placeholders.
        unsafe { libc::snprintf(text.as_mut_ptr().cast(), text.len(), c"%s".as_ptr(), format) };
    }
    let text = CStr::from_bytes_until_nul(&text)
        .unwrap_or_default()
        .to_string_lossy();
    // SAFETY: set on open to a `LogSource`, which lives as long as the database.
    let source = unsafe { ffi::tdb_get_logging_private(tdb).cast::<LogSource>().as_ref() };
    let database = source.map_or("?", |source| &source.database);
    log::log!(target: "tdb", level, "libtdb, database {database}: {}", text.trim_end());
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use crate::{OpenOptions, Tdb};

    struct Keep(Mutex<Vec<String>>);

    impl log::Log for Keep {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            self.0
                .lock()
                .unwrap()
                .push(format!("{} {}", record.level(), record.args()));
        }
        fn flush(&self) {}
    }

    static KEPT: Keep = Keep(Mutex::new(Vec::new()));

    #[test]
    fn messages_of_libtdb_arrive_with_their_arguments() {
        log::set_logger(&KEPT).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let error = Tdb::open("/nowhere/at/all.tdb", &OpenOptions::default()).unwrap_err();
        assert_eq!(error.errno, libc::ENOENT);
        let lines = KEPT.0.lock().unwrap();
        let line = lines
            .iter()
            .find(|line| line.contains("/nowhere/at/all.tdb"))
            .unwrap();
        assert!(
            line.starts_with("WARN libtdb, database /nowhere/at/all.tdb: "),
            "{line}"
        );
        assert!(line.ends_with("No such file or directory"), "{line}");
    }
}
