//! The words behind a command.

use std::borrow::Cow;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;

use crate::failure::{Failure, Usage};

/// A command's arguments.
pub struct Args<'a> {
    command: &'static str,
    words: &'a [OsString],
}

impl<'a> Args<'a> {
    pub(crate) fn new(command: &'static str, words: &'a [OsString]) -> Args<'a> {
        Args { command, words }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// All of them.
    pub fn words(&self) -> &'a [OsString] {
        self.words
    }

    /// One that is there, as text.
    pub fn text(&self, index: usize) -> Cow<'a, str> {
        self.words[index].to_string_lossy()
    }

    /// One that may be there, as text.
    pub fn get(&self, index: usize) -> Option<Cow<'a, str>> {
        self.words.get(index).map(|word| word.to_string_lossy())
    }

    /// One that is there, byte for byte.
    pub fn bytes(&self, index: usize) -> &'a [u8] {
        self.words[index].as_bytes()
    }

    /// Wants so many arguments.
    pub fn want(&self, count: RangeInclusive<usize>) -> Result<(), Failure> {
        if count.contains(&self.len()) {
            Ok(())
        } else {
            Err(self.usage())
        }
    }

    /// Wants no arguments.
    pub fn want_none(&self) -> Result<(), Failure> {
        self.want(0..=0)
    }

    /// The usage of the command instead of what it does.
    pub fn usage(&self) -> Failure {
        Failure::usage(Usage::Of(self.command))
    }
}
