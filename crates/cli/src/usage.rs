//! The usage: layout as popt's and the C tool's, sentences our own.

use std::fmt::Write as _;

use crate::commands::{self, Command};
use crate::options::{Kind, SPECS, Spec};

/// What popt makes of the options for `--usage`.
pub(crate) const BRIEF: &str = "\
Usage: [-?YXv] [-?|--help] [--usage] [-d|--debug=STRING]
        [-t|--timelimit=INT] [-n|--node=INT] [-Y] [-x|--separator=CHAR]
        [-X] [-v|--verbose] [-T|--maxruntime=INT]
";

/// All options.
pub(crate) fn options() -> String {
    let is_help = |spec: &&Spec| matches!(spec.kind, Kind::Help | Kind::BriefUsage);
    let mut text = String::from("Usage: [OPTION...]\n");
    SPECS
        .iter()
        .filter(|spec| !is_help(spec))
        .for_each(|spec| option_line(&mut text, spec));
    text += "\nHelp options:\n";
    SPECS
        .iter()
        .filter(is_help)
        .for_each(|spec| option_line(&mut text, spec));
    text
}

fn option_line(text: &mut String, spec: &Spec) {
    let short = spec
        .short
        .map_or("  ".to_owned(), |short| format!("-{}", char::from(short)));
    let long = match (spec.long, spec.value) {
        (None, _) => String::new(),
        (Some(long), None) => format!("--{long}"),
        (Some(long), Some(value)) => format!("--{long}={value}"),
    };
    let comma = if spec.short.is_some() && !long.is_empty() {
        ","
    } else {
        " "
    };
    let name = format!("{short}{comma} {long}");
    let _ = writeln!(text, "  {name:<23}  {}", spec.help);
}

/// All options and commands.
pub(crate) fn full() -> String {
    let mut text = options();
    text += "\nCommands:\n";
    commands::listed().for_each(|command| command_line(&mut text, command));
    text
}

/// One command.
pub(crate) fn of(name: &str) -> String {
    let mut text = BRIEF.to_owned();
    text += "\nCommands:\n";
    if let Some(command) = commands::find(name.as_ref()) {
        command_line(&mut text, command);
    }
    text
}

fn command_line(text: &mut String, command: &Command) {
    let Command { name, args, help, .. } = command;
    let _ = writeln!(text, "  {name:<15} {args:<27}  {help}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_commands_have_popts_columns() {
        let text = full();
        assert!(
            text.starts_with("Usage: [OPTION...]\n  -d, --debug=STRING       how"),
            "{text}"
        );
        assert!(text.contains("\n  -Y                       tables"), "{text}");
        assert!(text.contains("\n      --usage              the"), "{text}");
        assert!(
            text.contains("\n  getvar          <name>                       "),
            "{text}"
        );
        assert!(!text.contains("recmaster"), "the alias is not listed");
    }

    #[test]
    fn the_usage_of_a_command_is_its_line() {
        let text = of("ban");
        assert!(text.starts_with(BRIEF), "{text}");
        assert_eq!(text.lines().count(), 6);
        assert!(
            text.contains("  ban             <bantime>                    "),
            "{text}"
        );
    }
}
