//! Where the rows of a program are.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// Where the rows of a program are: an SQLite file, or a PostgreSQL database.
#[derive(Clone)]
pub enum Location {
    /// The file.
    Sqlite(PathBuf),
    /// The database, and how to log in to it.
    Postgres(Box<PgConnectOptions>),
}

impl FromStr for Location {
    type Err = InvalidLocation;

    /// `postgres://…` or `postgresql://…` is a database, anything else the path of a file.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let options: PgConnectOptions = text.parse().map_err(|_| InvalidLocation::Postgres)?;
            Ok(Self::Postgres(Box::new(options)))
        } else if text.is_empty() {
            Err(InvalidLocation::Empty)
        } else {
            Ok(Self::Sqlite(text.into()))
        }
    }
}

/// Without user or password: it goes into messages.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(options) => write!(
                f,
                "postgres://{}/{}",
                options.get_host(),
                options.get_database().unwrap_or_default()
            ),
        }
    }
}

/// The same: the `Debug` of the options shows the password.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// The text names no place for rows.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLocation {
    /// Nothing at all.
    #[error("no database is named; give the path of a file, or `postgres://user@host/database`")]
    Empty,
    /// No such URL. It may hold a password, so it is not repeated.
    #[error(
        "the URL of the PostgreSQL database is not of the form `postgres://user@host:port/database`"
    )]
    Postgres,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_shown_without_its_password() {
        let location: Location = "postgres://cas:hunter2@db.example.org/cas".parse().unwrap();
        assert_eq!(location.to_string(), "postgres://db.example.org/cas");
        assert!(!format!("{location:?}").contains("hunter2"));
        let location: Location = "/var/lib/mse/cas.db".parse().unwrap();
        assert_eq!(location.to_string(), "/var/lib/mse/cas.db");
        assert!("".parse::<Location>().is_err());
        assert!("postgres://h:notaport/x".parse::<Location>().is_err());
    }
}
