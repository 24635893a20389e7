//! Command line of `ctdb-event`: options, commands, and how they are shown.

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Run,
    Status,
    ScriptList,
    ScriptEnable,
    ScriptDisable,
}

/// Words, arguments, what it does.
const COMMANDS: [(Command, &str, &str, &str); 5] = [
    (
        Command::Run,
        "run",
        "<timeout> <component> <event> <args>",
        "Run an event",
    ),
    (
        Command::Status,
        "status",
        "<component> <event>",
        "Get status of an event",
    ),
    (
        Command::ScriptList,
        "script list",
        "<component>",
        "List event scripts",
    ),
    (
        Command::ScriptEnable,
        "script enable",
        "<component> <script>",
        "Enable an event script",
    ),
    (
        Command::ScriptDisable,
        "script disable",
        "<component> <script>",
        "Disable an event script",
    ),
];

const LEVELS: &str = "ERROR|WARNING|NOTICE|INFO|DEBUG";

/// What stands on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Help,
    /// Log level, if given, and what is no option.
    Words(Option<String>, Vec<String>),
}

/// Options may stand anywhere; `--` ends them.
pub(super) fn parse(args: &[String]) -> Result<Parsed, String> {
    let mut level = None;
    let mut words = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let missing = || format!("Invalid option {arg}: missing argument");
        if arg == "--" {
            words.extend(rest.cloned());
            break;
        } else if arg == "-h" || arg == "--help" {
            return Ok(Parsed::Help);
        } else if arg == "-d" || arg == "--debug" {
            level = Some(rest.next().ok_or_else(missing)?.clone());
        } else if let Some(value) = arg.strip_prefix("--debug=") {
            level = Some(value.to_owned());
        } else if arg.len() > 1 && arg.starts_with('-') {
            match arg.strip_prefix("-d") {
                Some(value) => level = Some(value.trim_start_matches('=').to_owned()),
                None => return Err(format!("Invalid option {arg}: unknown option")),
            }
        } else {
            words.push(arg.clone());
        }
    }
    Ok(Parsed::Words(level, words))
}

/// The command that the words begin with, and its arguments.
pub(super) fn find(words: &[String]) -> Option<(Command, &[String])> {
    COMMANDS.iter().find_map(|(command, name, ..)| {
        let count = name.split(' ').count();
        let matches = words.len() >= count && name.split(' ').eq(words[..count].iter().map(String::as_str));
        matches.then(|| (*command, &words[count..]))
    })
}

/// Help for everything.
pub(super) fn usage_all() -> String {
    let mut text = String::from("Usage: ctdb-event [<options>] <command> [<args>]\n\nHelp Options:\n");
    let options = [
        ("-h, --help".to_owned(), "Show this help message"),
        (format!("-d, --debug={LEVELS}"), "debug level"),
    ];
    let width = options.iter().map(|(option, _)| option.len()).max().unwrap_or(0) + 5;
    text.push_str(&format!(
        "  {:width$}{}\n\nOptions:\n",
        options[0].0, options[0].1
    ));
    text.push_str(&format!(
        "  {:width$}{}\n\nCommands:\n",
        options[1].0, options[1].1
    ));
    let width = COMMANDS
        .iter()
        .map(|(_, name, args, _)| name.len() + args.len())
        .max()
        .unwrap_or(0)
        + 6;
    for (_, name, args, help) in COMMANDS {
        text.push_str(&format!("  {:width$}{help}\n", format!("{name} {args}")));
    }
    text
}

/// Help for one command.
pub(super) fn usage_of(command: Command) -> String {
    let mut text =
        format!("Usage: ctdb-event [-h] [-h|--help]\n        [-d|--debug={LEVELS}] <command> [<args>]\n\n");
    for (_, name, args, help) in COMMANDS.iter().filter(|(each, ..)| *each == command) {
        text.push_str(&format!("  {name} {args}     {help}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn options_may_stand_anywhere() {
        let parsed = parse(&strings(&["run", "-d", "INFO", "1", "c", "--", "-x"])).unwrap();
        assert_eq!(
            parsed,
            Parsed::Words(Some("INFO".into()), strings(&["run", "1", "c", "-x"]))
        );
        assert_eq!(
            parse(&strings(&["-dINFO"])),
            Ok(Parsed::Words(Some("INFO".into()), Vec::new()))
        );
        assert_eq!(parse(&strings(&["run", "--help"])), Ok(Parsed::Help));
    }

    #[test]
    fn an_unknown_option_is_named() {
        assert_eq!(
            parse(&strings(&["run", "-x"])),
            Err("Invalid option -x: unknown option".into())
        );
        assert_eq!(
            parse(&strings(&["-d"])),
            Err("Invalid option -d: missing argument".into())
        );
    }

    #[test]
    fn a_command_may_have_two_words() {
        let words = strings(&["script", "list", "legacy"]);
        assert_eq!(find(&words), Some((Command::ScriptList, &words[2..])));
        assert_eq!(find(&strings(&["script"])), None);
        assert_eq!(find(&strings(&["nosuch", "x"])), None);
    }
}
