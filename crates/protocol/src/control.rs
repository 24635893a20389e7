//! What controls ask and what is answered, typed. One line per control in each of the two tables; the
//! structures are in the rooms they belong to ([`crate::node`], [`crate::database`], [`crate::address`], ...).

mod reply;
mod request;

pub use reply::Reply;
pub use request::Request;

use crate::{Opcode, WireError};

/// Why a control can't be served, before anybody looked at what it wants. The answer is status -1 without text
/// in all three cases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It existed once.
    #[error("control {opcode} ({}) is obsolete{}", .opcode.0, successor(*.instead))]
    Obsolete {
        /// Which.
        opcode: Opcode,
        /// What took its place.
        instead: Option<&'static str>,
    },
    /// Nobody knows it.
    #[error("control {} is unknown", .0.0)]
    Unknown(Opcode),
    /// Its data is not what it should be.
    #[error("control {opcode} ({}): {error}", .opcode.0)]
    Malformed {
        /// Which.
        opcode: Opcode,
        /// What is wrong.
        error: WireError,
    },
}

fn successor(instead: Option<&str>) -> String {
    instead
        .map(|name| format!("; {name} took its place"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::Status;
    use crate::{DbId, Reader, RecMode, Text};

    #[test]
    fn every_served_control_has_a_request_and_every_other_is_refused_as_what_it_is() {
        for number in 0..200 {
            let opcode = Opcode(number);
            let error = Request::decode(opcode, &[0xff; 3]).err();
            match opcode.status() {
                Status::Implemented => {
                    assert!(!matches!(
                        error,
                        Some(ControlError::Obsolete { .. } | ControlError::Unknown(_))
                    ));
                }
                Status::Obsolete { instead } => {
                    assert_eq!(error, Some(ControlError::Obsolete { opcode, instead }));
                }
                Status::Unknown => assert_eq!(error, Some(ControlError::Unknown(opcode))),
            }
        }
    }

    #[test]
    fn a_control_of_fixed_size_refuses_more_and_less() {
        assert_eq!(
            Request::decode(Opcode::SET_RECMODE, &[1, 0, 0, 0]),
            Ok(Request::SetRecmode(RecMode::Active))
        );
        for len in [0, 3, 5, 8] {
            let error = Request::decode(Opcode::SET_RECMODE, &[0; 8][..len]);
            assert!(
                matches!(error, Err(ControlError::Malformed { .. })),
                "{len} bytes"
            );
        }
        assert!(Request::decode(Opcode::DB_VACUUM, &[0; 8]).is_err());
        assert!(Request::decode(Opcode::DB_VACUUM, &[0; 5]).is_ok());
    }

    #[test]
    fn a_control_that_ignores_its_data_takes_any() {
        assert_eq!(
            Request::decode(Opcode::GET_NODEMAP, b"x"),
            Ok(Request::GetNodemap)
        );
        assert!(Request::decode(Opcode::PING, b"x").is_err());
    }

    #[test]
    fn a_database_name_needs_its_nul() {
        assert_eq!(
            Request::decode(Opcode::DB_ATTACH, b"a.tdb\0"),
            Ok(Request::DbAttach(Text(b"a.tdb")))
        );
        assert!(Request::decode(Opcode::DB_ATTACH, b"a.tdb").is_err());
    }

    #[test]
    fn errors_name_control_and_field() {
        let error = Request::decode(Opcode::DB_FREEZE, &[1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "control DB_FREEZE (141): db_id: needs 4 bytes, 1 are left"
        );
        let error = Request::decode(Opcode::RELEASE_IP_V4, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "control RELEASE_IPv4 (43) is obsolete; RELEASE_IP took its place"
        );
    }

    #[test]
    fn an_answer_is_typed_by_the_question() {
        let id = Reply::decode(Opcode::DB_ATTACH, &[1, 0, 0, 0]);
        assert_eq!(id, Ok(Reply::DbAttach(DbId(1))));
        assert_eq!(Reply::decode(Opcode::FREEZE, &[]), Ok(Reply::Empty));
        assert_eq!(
            Reply::decode(Opcode::DB_GET_HEALTH, &[]),
            Ok(Reply::DbGetHealth(None))
        );
        assert!(Reply::decode(Opcode::THAW, &[]).is_err());
        let mut out = Vec::new();
        Reply::DbAttach(DbId(1)).encode(&mut out);
        assert_eq!(Reader::new(&out).u32("db_id"), Ok(1));
    }
}
