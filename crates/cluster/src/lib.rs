//! Pure decisions of the cluster: flags, elections, ban credits, whether a recovery is needed and why, vnnmap.
//!
//! Everything here takes what was seen and says what to do; nothing here asks, sends, waits, logs or looks at a
//! clock. Times come in as arguments: a duration since the program's start, or, in elections, since the epoch.
//!
//! | module | question |
//! |---|---|
//! | [`election`] | who leads? |
//! | [`checks`] | is a recovery needed, and why? |
//! | [`vnnmap`] | who are the location masters? |
//! | [`credits`] | who has to be banned, and on what evidence? |
//! | [`operations`] | may a recovery or a takeover run begin now? |
//! | [`flags`] | what do node flags become, and what follows? |
//! | [`version`] | which version is announced, and who leaves if versions differ? |

pub mod election;
