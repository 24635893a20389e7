//! Command lines of the small tools (`ctdb-config`, `ctdb-path`, `ctdb-event`): options, commands of one or two words, usage.
//!
//! Usage texts and exit codes are upstream's; a tool tells what it has to say ([`Said`]) and its `main` prints it.
//! Source: `ctdb/common/cmdline.c` and what Debian's tools print.

/// What a run of a tool says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// Exit code.
    pub code: u8,
}

impl Said {
    /// Prints it and gives the exit code.
    pub fn print(&self) -> u8 {
        eprint!("{}", self.err);
        print!("{}", self.out);
        self.code
    }
}

/// One command of a tool.
#[derive(Clone, Copy, Debug)]
pub struct Command<C> {
    /// What the tool calls it.
    pub id: C,
    /// One or two words.
    pub name: &'static str,
    /// Its arguments, for the usage.
    pub args: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// A tool.
#[derive(Clone, Copy, Debug)]
pub struct Tool<C: 'static> {
    /// Its name.
    pub name: &'static str,
    /// Its options, as the usage of a command shows them.
    pub options: &'static str,
    /// Whether there is `-d`.
    pub has_level: bool,
    /// Whether there are `-?` and `--usage`, too.
    pub has_popt_help: bool,
    /// Its commands, in the order of the usage.
    pub commands: &'static [Command<C>],
}

/// A command line that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation<C> {
    /// Value of `-d`.
    pub level: Option<String>,
    /// Which command.
    pub command: C,
    /// What follows its name.
    pub args: Vec<String>,
}

/// Upstream prints its usage twice, once while parsing and once while giving up, and fails even when asked for help.
const USAGE_TIMES: usize = 2;

const LEVELS: &str = "ERROR|WARNING|NOTICE|INFO|DEBUG";

impl<C: Copy + PartialEq> Tool<C> {
    /// Understands a command line (without the program's name). Options may stand anywhere; `--` ends them.
    ///
    /// # Errors
    /// What is to be said instead: the usage.
    pub fn parse(&self, args: &[String]) -> Result<Invocation<C>, Said> {
        let (level, words) = self.options(args)?;
        let found = self.commands.iter().find_map(|command| {
            let count = command.name.split(' ').count();
            let name_fits = words.len() >= count
                && command
                    .name
                    .split(' ')
                    .eq(words[..count].iter().map(String::as_str));
            name_fits.then(|| Invocation {
                level: level.clone(),
                command: command.id,
                args: words[count..].to_vec(),
            })
        });
        found.ok_or_else(|| self.refuse(String::new()))
    }

    fn options(&self, args: &[String]) -> Result<(Option<String>, Vec<String>), Said> {
        let (mut level, mut words) = (None, Vec::new());
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let invalid = |why| self.refuse(format!("Invalid option {arg}: {why}\n"));
            match arg.as_str() {
                "--" => {
                    words.extend(rest.cloned());
                    break;
                }
                "-?" | "--usage" if self.has_popt_help => {
                    return Err(Said {
                        out: self.usage(),
                        ..Said::default()
                    });
                }
                "-h" | "--help" => return Err(self.refuse(String::new())),
                "-d" | "--debug" if self.has_level => {
                    level = Some(rest.next().ok_or_else(|| invalid("missing argument"))?.clone());
                }
                option if option.len() > 1 && option.starts_with('-') => {
                    let value = option
                        .strip_prefix("--debug=")
                        .or_else(|| option.strip_prefix("-d"));
                    let value = value
                        .filter(|_| self.has_level)
                        .ok_or_else(|| invalid("unknown option"))?;
                    level = Some(value.trim_start_matches('=').to_owned());
                }
                _ => words.push(arg.clone()),
            }
        }
        Ok((level, words))
    }

    fn refuse(&self, err: String) -> Said {
        Said {
            out: self.usage().repeat(USAGE_TIMES),
            err,
            code: 1,
        }
    }

    /// Help for everything.
    pub fn usage(&self) -> String {
        let level = format!("-d, --debug={LEVELS}");
        let option_width = if self.has_level {
            level.len()
        } else {
            "-h, --help".len()
        } + 5;
        let option = |option: &str, help: &str| format!("  {option:option_width$}{help}\n");
        let mut text = format!(
            "Usage: {} [<options>] <command> [<args>]\n\nHelp Options:\n",
            self.name
        );
        text.push_str(&option("-h, --help", "Show this help message"));
        if self.has_level {
            text.push_str(&format!("\nOptions:\n{}", option(&level, "debug level")));
        }
        if self.has_popt_help {
            text.push_str(&format!(
                "\nHelp options:\n{}",
                option("-?, --help", "Show this help message")
            ));
            text.push_str(&option("    --usage", "Display brief usage message"));
        }
        text.push_str("\nCommands:\n");
        let width = self
            .commands
            .iter()
            .map(|command| command.name.len() + command.args.len())
            .max()
            .unwrap_or(0)
            + 1;
        for Command { name, args, help, .. } in self.commands {
            text.push_str(&format!("  {:width$}     {help}\n", format!("{name} {args}")));
        }
        text
    }

    /// Help for one command.
    pub fn usage_of(&self, id: C) -> String {
        let mut text = format!("Usage: {} {} <command> [<args>]\n\n", self.name, self.options);
        for Command { name, args, help, .. } in self.commands.iter().filter(|command| command.id == id) {
            text.push_str(&format!("  {name} {args}     {help}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Tool<u8> = Tool {
        name: "tool",
        options: "[-h]",
        has_level: true,
        has_popt_help: false,
        commands: &[
            Command {
                id: 1,
                name: "run",
                args: "<x>",
                help: "Run",
            },
            Command {
                id: 2,
                name: "script list",
                args: "<y>",
                help: "List",
            },
        ],
    };

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn parse(words: &[&str]) -> Result<Invocation<u8>, Said> {
        TOOL.parse(&strings(words))
    }

    #[test]
    fn options_may_stand_anywhere() {
        let expected = |level: Option<&str>, args: &[&str]| {
            Ok(Invocation {
                level: level.map(str::to_owned),
                command: 1,
                args: strings(args),
            })
        };
        assert_eq!(
            parse(&["run", "-d", "INFO", "1", "--", "-x"]),
            expected(Some("INFO"), &["1", "-x"])
        );
        assert_eq!(parse(&["-dINFO", "run"]), expected(Some("INFO"), &[]));
        assert_eq!(parse(&["run", "--debug=5", "-"]), expected(Some("5"), &["-"]));
    }

    #[test]
    fn a_command_may_have_two_words() {
        assert_eq!(
            parse(&["script", "list", "legacy"]).map(|found| found.command),
            Ok(2)
        );
        for words in [&["script"][..], &["nosuch", "x"], &[]] {
            assert_eq!(
                parse(words),
                Err(Said {
                    out: TOOL.usage().repeat(2),
                    err: String::new(),
                    code: 1
                })
            );
        }
    }

    #[test]
    fn an_unknown_option_is_named() {
        let err = |words| parse(words).unwrap_err().err;
        assert_eq!(err(&["run", "-x"]), "Invalid option -x: unknown option\n");
        assert_eq!(err(&["-d"]), "Invalid option -d: missing argument\n");
        assert_eq!(
            err(&["run", "--usage"]),
            "Invalid option --usage: unknown option\n"
        );
    }
}
