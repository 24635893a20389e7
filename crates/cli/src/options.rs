//! Options, as popt reads them: anywhere on the line, short ones in bundles, values attached or as the next word, `--`
//! ends them. No abbreviations.
//!
//! clap reads lines another way (`-x=%` has the value `=%` there, say) and scripts rely on popt's, so that this is
//! written out.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use ctdb_protocol::Pnn;

use crate::failure::Failure;
use crate::numbers::{self, BadInt};

/// Without `-T` and `CTDB_TIMEOUT`.
const MAX_RUNTIME_S: u32 = 120;

/// What the options say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `-d`: log level of the tool itself.
    pub debug: Option<String>,
    /// `-t`: for each control, seconds.
    pub time_limit_s: i32,
    /// `-n`: the node that is asked or changed.
    pub node: Option<Pnn>,
    /// `-X` or `-Y`: tables for scripts.
    pub machine: bool,
    /// `-x`: what is between the columns of such tables.
    pub separator: String,
    /// `-v`: more columns.
    pub verbose: bool,
    /// `-T`, `CTDB_TIMEOUT` or two minutes; `None` is forever.
    pub max_runtime: Option<Duration>,
    /// `-T` as it stands; 0 is "not given".
    max_runtime_s: i32,
}

/// Why the line is not run.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// An option that is no good.
    Invalid {
        /// The word that is wrong.
        option: String,
        /// popt's reason.
        why: &'static str,
    },
    /// `-?`, `--help`.
    Help,
    /// `--usage`.
    BriefUsage,
}

/// One kind of option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Debug,
    TimeLimit,
    Node,
    MachineY,
    Separator,
    MachineX,
    Verbose,
    MaxRuntime,
    Help,
    BriefUsage,
}

pub(crate) struct Spec {
    pub(crate) kind: Kind,
    pub(crate) short: Option<u8>,
    pub(crate) long: Option<&'static str>,
    /// What the help calls the value.
    pub(crate) value: Option<&'static str>,
    pub(crate) help: &'static str,
}

const fn spec(
    kind: Kind,
    short: Option<u8>,
    long: Option<&'static str>,
    value: Option<&'static str>,
    help: &'static str,
) -> Spec {
    Spec {
        kind,
        short,
        long,
        value,
        help,
    }
}

/// All options, in the order of the help.
#[rustfmt::skip]
pub(crate) const SPECS: &[Spec] = &[
    spec(Kind::Debug, Some(b'd'), Some("debug"), Some("STRING"), "how much this tool itself logs"),
    spec(Kind::TimeLimit, Some(b't'), Some("timelimit"), Some("INT"), "seconds to wait for each answer"),
    spec(Kind::Node, Some(b'n'), Some("node"), Some("INT"), "number of the node to act on"),
    spec(Kind::MachineY, Some(b'Y'), None, None, "tables for scripts"),
    spec(Kind::Separator, Some(b'x'), Some("separator"), Some("CHAR"), "what stands between the columns of such tables"),
    spec(Kind::MachineX, Some(b'X'), None, None, "the same as -Y"),
    spec(Kind::Verbose, Some(b'v'), Some("verbose"), None, "show more"),
    spec(Kind::MaxRuntime, Some(b'T'), Some("maxruntime"), Some("INT"), "seconds after which this tool gives up"),
    spec(Kind::Help, Some(b'?'), Some("help"), None, "this list"),
    spec(Kind::BriefUsage, None, Some("usage"), None, "the options in brief"),
];

impl Default for Options {
    fn default() -> Self {
        Options {
            debug: None,
            time_limit_s: 10,
            node: None,
            machine: false,
            separator: "|".to_owned(),
            verbose: false,
            max_runtime: None,
            max_runtime_s: 0,
        }
    }
}

impl Options {
    /// For each control.
    pub fn time_limit(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.time_limit_s).unwrap_or(0))
    }

    /// Takes the options out of `words`; the others are left, in order.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn parse(words: &[OsString]) -> Result<(Options, Vec<OsString>), Stop> {
        let mut options = Options::default();
        let mut left = Vec::new();
        let mut words = words.iter().map(OsString::as_os_str);
        while let Some(word) = words.next() {
            match word.as_bytes() {
                b"--" => {
                    left.extend(words.by_ref().map(OsStr::to_owned));
                }
                [b'-', b'-', long @ ..] => options.take_long(word, long, &mut words)?,
                [b'-', bundle @ ..] if !bundle.is_empty() => options.take_bundle(word, bundle, &mut words)?,
                _ => left.push(word.to_owned()),
            }
        }
        Ok((options, left))
    }

    fn take_long<'w>(
        &mut self,
        word: &OsStr,
        long: &[u8],
        words: &mut impl Iterator<Item = &'w OsStr>,
    ) -> Result<(), Stop> {
        let (name, attached) = match long.iter().position(|&b| b == b'=') {
            Some(at) => (&long[..at], Some(&long[at + 1..])),
            None => (long, None),
        };
        let found = SPECS
            .iter()
            .find(|spec| spec.long.is_some_and(|long| long.as_bytes() == name));
        let spec = found.ok_or_else(|| invalid(word, "unknown option"))?;
        if spec.value.is_none() {
            if attached.is_some() {
                return Err(invalid(word, "option does not take an argument"));
            }
            return self.set(spec.kind, word, b"");
        }
        self.take_value(spec.kind, word, attached, words)
    }

    fn take_bundle<'w>(
        &mut self,
        word: &OsStr,
        bundle: &[u8],
        words: &mut impl Iterator<Item = &'w OsStr>,
    ) -> Result<(), Stop> {
        let mut rest = bundle;
        while let [short, after @ ..] = rest {
            let found = SPECS.iter().find(|spec| spec.short == Some(*short));
            let spec = found.ok_or_else(|| invalid(word, "unknown option"))?;
            if spec.value.is_some() {
                let attached = (!after.is_empty()).then(|| after.strip_prefix(b"=").unwrap_or(after));
                return self.take_value(spec.kind, word, attached, words);
            }
            if after.starts_with(b"=") {
                return Err(invalid(word, "option does not take an argument"));
            }
            self.set(spec.kind, word, b"")?;
            rest = after;
        }
        Ok(())
    }

    /// A value at hand, or the next word whatever it looks like.
    fn take_value<'w>(
        &mut self,
        kind: Kind,
        word: &OsStr,
        attached: Option<&[u8]>,
        words: &mut impl Iterator<Item = &'w OsStr>,
    ) -> Result<(), Stop> {
        match attached {
            Some(value) => self.set(kind, word, value),
            None => {
                let next = words.next().ok_or_else(|| invalid(word, "missing argument"))?;
                self.set(kind, next, next.as_bytes())
            }
        }
    }

    /// `word` is what an error names.
    fn set(&mut self, kind: Kind, word: &OsStr, value: &[u8]) -> Result<(), Stop> {
        let text = || String::from_utf8_lossy(value).into_owned();
        let number = || {
            numbers::option_int(&text()).map_err(|bad| match bad {
                BadInt::NotNumeric => invalid(word, "invalid numeric value"),
                BadInt::OutOfRange => invalid(word, "number too large or too small"),
            })
        };
        match kind {
            Kind::Debug => self.debug = Some(text()),
            Kind::TimeLimit => self.time_limit_s = number()?,
            // -1 is "not given"; other negative numbers are nodes that do not exist.
            Kind::Node => {
                self.node = Some(number()?)
                    .filter(|&n| n != -1)
                    .map(|n| Pnn(n.cast_unsigned()))
            }
            Kind::MachineY | Kind::MachineX => self.machine = true,
            Kind::Separator => self.separator = text(),
            Kind::Verbose => self.verbose = true,
            Kind::MaxRuntime => self.max_runtime_s = number()?,
            Kind::Help => return Err(Stop::Help),
            Kind::BriefUsage => return Err(Stop::BriefUsage),
        }
        Ok(())
    }

    /// Settles [`Options::max_runtime`] by `-T` and the value of `CTDB_TIMEOUT`.
    ///
    /// # Errors
    /// That value is no number.
    pub fn settle_max_runtime(&mut self, variable: Option<&OsStr>) -> Result<(), Failure> {
        let seconds = match (self.max_runtime_s, variable) {
            (0, None) => MAX_RUNTIME_S,
            (0, Some(value)) => numbers::strtoul(&value.to_string_lossy(), 0)
                .map_err(|_| Failure::said("Invalid value CTDB_TIMEOUT"))?,
            (given, _) => given.cast_unsigned(),
        };
        self.max_runtime = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        Ok(())
    }
}

fn invalid(word: &OsStr, why: &'static str) -> Stop {
    Stop::Invalid {
        option: String::from_utf8_lossy(&word.to_owned().into_vec()).into_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &[&str]) -> Result<(Options, Vec<OsString>), Stop> {
        Options::parse(&line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn refused(line: &[&str]) -> (String, &'static str) {
        match parse(line) {
            Err(Stop::Invalid { option, why }) => (option, why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_stand_anywhere_until_two_dashes() {
        let (options, words) = parse(&["status", "-Yx:", "--", "-v", "-"]).unwrap();
        assert!(options.machine && !options.verbose);
        assert_eq!(options.separator, ":");
        assert_eq!(words, ["status", "-v", "-"]);
    }

    #[test]
    fn values_are_attached_or_the_next_word() {
        for line in [
            &["-n1"][..],
            &["-n", "1"],
            &["-n=1"],
            &["--node=1"],
            &["--node", "0x1"],
            &["-vn", "1"],
        ] {
            assert_eq!(parse(line).unwrap().0.node, Some(Pnn(1)), "{line:?}");
        }
        assert_eq!(parse(&["-x=%"]).unwrap().0.separator, "%");
        assert_eq!(parse(&["-n", "-1"]).unwrap().0.node, None);
        assert_eq!(parse(&["-n", ""]).unwrap().0.node, Some(Pnn(0)));
        assert_eq!(parse(&["-debug"]).unwrap().0.debug.as_deref(), Some("ebug"));
    }

    #[test]
    fn an_error_names_the_word_that_is_wrong() {
        let numeric = "invalid numeric value";
        assert_eq!(refused(&["-n", "abc", "status"]), ("abc".to_owned(), numeric));
        assert_eq!(refused(&["-timelimit", "3"]), ("-timelimit".to_owned(), numeric));
        assert_eq!(refused(&["-verbose"]), ("-verbose".to_owned(), "unknown option"));
        assert_eq!(refused(&["--sep", "%"]), ("--sep".to_owned(), "unknown option"));
        assert_eq!(refused(&["-t"]), ("-t".to_owned(), "missing argument"));
        let no_value = "option does not take an argument";
        assert_eq!(refused(&["-v=1"]), ("-v=1".to_owned(), no_value));
        assert_eq!(refused(&["--verbose=1"]), ("--verbose=1".to_owned(), no_value));
    }

    #[test]
    fn help_is_given_when_its_turn_comes() {
        assert_eq!(parse(&["status", "-?", "--foo"]), Err(Stop::Help));
        assert_eq!(refused(&["--foo", "-?"]).0, "--foo");
        assert_eq!(parse(&["--usage"]), Err(Stop::BriefUsage));
    }

    #[test]
    fn the_run_ends_after_two_minutes_or_as_said() {
        let settled = |line: &[&str], variable: Option<&str>| {
            let (mut options, _) = parse(line).unwrap();
            options
                .settle_max_runtime(variable.map(OsStr::new))
                .map(|()| options.max_runtime)
        };
        assert_eq!(settled(&[], None), Ok(Some(Duration::from_secs(120))));
        assert_eq!(settled(&["-T", "5"], Some("x")), Ok(Some(Duration::from_secs(5))));
        assert_eq!(settled(&[], Some("0")), Ok(None));
        assert!(settled(&[], Some("x")).is_err());
    }

    proptest! {
        #[test]
        fn any_line_is_understood_or_refused(line in proptest::collection::vec("[-=a-zXYT?0-9 ]{0,6}", 0..6)) {
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            let _ = parse(&line);
        }
    }
}
