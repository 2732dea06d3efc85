//! Reads the first exchange of a conversation from JSON, and passes over the rest of it.
//!
//! Most of a file of conversations is not sent: its texts are neither unpacked nor copied.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::conversation::{FirstExchange, SPEAKER_KEYS, TEXT_KEYS};
use super::records::Form;

/// Names of the list of turns.
const LISTS: [&str; 4] = ["conversations", "conversation", "messages", "items"];

/// A conversation of which the first exchange is kept.
#[derive(Debug, Default)]
pub(super) struct Exchange<'a>(pub(super) FirstExchange<Cow<'a, str>>);

/// Reads records as [`Exchange`].
pub(super) struct Exchanges;

impl Form for Exchanges {
    type Record<'a> = Exchange<'a>;
}

impl<'de> Deserialize<'de> for Exchange<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadExchange)
    }
}

struct ReadExchange;

impl<'de> Visitor<'de> for ReadExchange {
    type Value = Exchange<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut read = Exchange::default();
        while let Some(Text(name)) = fields.next_key()? {
            let is_list = name.is_some_and(|name| LISTS.contains(&&*name));
            if is_list && !read.0.is_asked() {
                read.0 = fields.next_value::<Turns<'_>>()?.0;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(read)
    }
}

/// A list of turns.
struct Turns<'a>(FirstExchange<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Turns<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadTurns)
    }
}

struct ReadTurns;

impl<'de> Visitor<'de> for ReadTurns {
    type Value = Turns<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of turns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut turns: A) -> Result<Self::Value, A::Error> {
        let mut exchange = FirstExchange::default();
        while !exchange.is_over() {
            match turns.next_element()? {
                Some(Turn { speaker, said }) => {
                    exchange.take(speaker.as_deref().unwrap_or_default(), said);
                }
                None => break,
            }
        }
        while turns.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Turns(exchange))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Turns(FirstExchange::default()))
    }
}

/// One turn: who speaks, and what that says.
struct Turn<'a> {
    speaker: Option<Cow<'a, str>>,
    said: Option<Cow<'a, str>>,
}

impl<'de> Deserialize<'de> for Turn<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadTurn)
    }
}

struct ReadTurn;

impl<'de> Visitor<'de> for ReadTurn {
    type Value = Turn<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut speaker = Best::of(&SPEAKER_KEYS);
        let mut said = Best::of(&TEXT_KEYS);
        while let Some(Text(name)) = fields.next_key()? {
            let name = name.unwrap_or_default();
            if let Some(rank) = speaker.rank(&name) {
                speaker.offer(rank, fields.next_value::<Text<'_>>()?.0);
            } else if let Some(rank) = said.rank(&name) {
                said.offer(rank, fields.next_value::<Text<'_>>()?.0);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Turn {
            speaker: speaker.best.map(|(_, text)| text),
            said: said.best.map(|(_, text)| text),
        })
    }
}

/// The text under the first of several names that has one.
struct Best<'n, 'a> {
    names: &'n [&'n str],
    best: Option<(usize, Cow<'a, str>)>,
}

impl<'n, 'a> Best<'n, 'a> {
    fn of(names: &'n [&'n str]) -> Self {
        Self { names, best: None }
    }

    fn rank(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| *known == name)
    }

    fn offer(&mut self, rank: usize, text: Option<Cow<'a, str>>) {
        let is_better = self.best.as_ref().is_none_or(|(best, _)| rank <= *best);
        if let Some(text) = text.filter(|_| is_better) {
            self.best = Some((rank, text));
        }
    }
}

/// A text, borrowed where it is the same in JSON; none of what is no text.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadText(PhantomData))
    }
}

struct ReadText<'a>(PhantomData<&'a str>);

impl<'de> Visitor<'de> for ReadText<'de> {
    type Value = Text<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(text.to_owned()))))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(text))))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<(String, Option<String>)> {
        let read: Exchange<'_> = serde_json::from_str(json).unwrap();
        let (prompt, reply) = read.0.parts()?;
        Some((prompt.into_owned(), reply.map(Cow::into_owned)))
    }

    #[test]
    fn what_the_user_says_first_is_read_with_its_reply() {
        let exchange =
            |prompt: &str, reply: Option<&str>| Some((prompt.to_owned(), reply.map(str::to_owned)));
        for (json, wanted) in [
            (
                r#"{"id": 1, "conversations": [{"from": "gpt", "value": "x"}, {"value": "a\n", "from": "human"},
                    {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"}, 7]}"#,
                exchange("a\n", Some("b")),
            ),
            (
                r#"{"items": [], "messages": [{"role": "user", "content": "a", "text": "no"}, {"role": "tool", "content": "b"}]}"#,
                exchange("a", None),
            ),
            (
                r#"{"messages": [{"role": null, "from": "user", "value": {"a": [1]}, "content": [true, 1.5], "text": "a"}]}"#,
                exchange("a", None),
            ),
            (
                r#"{"messages": [{"role": "user", "content": null}, {"role": "user", "content": "a"}]}"#,
                None,
            ),
            (
                r#"{"conversation": null, "messages": [{"role": "user", "content": "a"}], "items": [{"role": "user", "content": "b"}, {}]}"#,
                exchange("a", None),
            ),
            ("{}", None),
        ] {
            assert_eq!(read(json), wanted, "{json}");
        }
        for wrong in ["1", r#"{"messages": 1}"#, r#"{"messages": ["a"]}"#] {
            assert!(
                serde_json::from_str::<Exchange<'_>>(wrong).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_text_without_escapes_is_borrowed() {
        let json = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "bot", "content": "b\t"}]}"#;
        let read: Exchange<'_> = serde_json::from_str(json).unwrap();
        let parts = read.0.parts().unwrap();
        assert!(matches!(parts, (Cow::Borrowed("a"), Some(Cow::Owned(_)))));
    }
}
