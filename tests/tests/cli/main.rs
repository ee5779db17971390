//! The command-line tool from outside: the real executable, its files, its words and its exit codes.

mod bench;
mod devices;
mod run;
mod support;
mod unwritable;
mod verify;
