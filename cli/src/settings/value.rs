//! Kinds of settings' values: how each is written, on the command line and in a file alike.

use fanfare_server::{Names, Network, NetworkError};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(super) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an address and a port, like 127.0.0.1:4433 or [::1]:4433")
}

/// With the same words as on the command line for one that cannot be read.
pub(super) fn address_in_file<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    address(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

/// What to do about a slow consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OverflowSetting {
    /// Close its connection, with code 4007
    Disconnect,
    /// Drop its oldest waiting messages, and tell it how many
    DropOldest,
}

/// What a node does that has lost touch with its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WithoutClusterSetting {
    /// Let nobody in and deliver nothing until it is back: nobody stays in who was put out elsewhere
    Pause,
    /// Go on: who was put out elsewhere meanwhile stays in here, and receipts say so
    Serve,
}

/// Which names of users and groups are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NamesSetting {
    /// Printable ASCII alone
    Ascii,
    /// Everything but control characters and marks of direction
    Unicode,
    /// Everything
    Any,
}

impl From<Names> for NamesSetting {
    fn from(names: Names) -> Self {
        match names {
            Names::Ascii => Self::Ascii,
            Names::Unicode => Self::Unicode,
            Names::Any => Self::Any,
        }
    }
}

impl From<NamesSetting> for Names {
    fn from(names: NamesSetting) -> Self {
        match names {
            NamesSetting::Ascii => Self::Ascii,
            NamesSetting::Unicode => Self::Unicode,
            NamesSetting::Any => Self::Any,
        }
    }
}

/// A length of time, written `500ms`, `5s` or `2m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map(Self).map_err(|_| "write a time like 500ms, 5s or 2m".to_owned())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A network of proxies, or the address of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetworkSetting(pub(super) Network);

impl FromStr for NetworkSetting {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        text.parse().map(Self)
    }
}

impl Serialize for NetworkSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NetworkSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Where something that may be left out listens, or that it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListenSetting {
    Off,
    At(SocketAddr),
}

impl FromStr for ListenSetting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| "write an address and a port, like 127.0.0.1:4434, or off")
    }
}

impl fmt::Display for ListenSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Serialize for ListenSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The origin of a page, as browsers write it: `https://app.example`, with the port where it is not the scheme's own.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let wrong =
        || format!("{text:?} is not an origin; write one like https://app.example or http://localhost:8080");
    let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
    let plain = |character: char| character.is_ascii_alphanumeric() || "-.:[]".contains(character);
    if !["http", "https"].contains(&scheme) || host.is_empty() || !host.chars().all(plain) {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// With the same words as on the command line for one that cannot be read.
pub(super) fn origins_in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let origins = Vec::<String>::deserialize(deserializer)?;
    origins.iter().map(|text| origin(text).map_err(de::Error::custom)).collect()
}
