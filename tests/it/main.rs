//! The whole program, from outside: the real binary against a scripted server, files and signals.
//!
//! Nothing here uses the library: what is checked is what a user has, which is exit codes, what is
//! printed, and what SQL says of the tape.

#[cfg(test)]
mod attempts;
#[cfg(test)]
mod backends;
#[cfg(test)]
mod circles;
#[cfg(test)]
mod cli_reference;
#[cfg(test)]
mod conversations;
mod counts;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod hub;
mod inspect;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod load;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod program;
#[cfg(test)]
mod prompts;
#[cfg(test)]
mod replies;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod sql;
#[cfg(test)]
mod tapes;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tokenize;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod view;
