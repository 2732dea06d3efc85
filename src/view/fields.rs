//! The fields of a form, as they stand in an address.

use std::collections::BTreeMap;

use url::form_urlencoded;

/// Names with their values. Of a name that is given twice the last one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Reads the query of an address.
    pub(crate) fn of_query(query: &str) -> Self {
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// Makes fields of names and values.
    pub(crate) fn new<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let owned = fields.into_iter();
        Self(
            owned
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// Returns a value without the space around it; empty where there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }

    /// Returns a value where it is not empty.
    pub(crate) fn some(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// Returns `form` with these in place of its own, as far as it has such fields. A form sends
    /// all of its fields, also those that are empty; whoever types an address names a few.
    pub(crate) fn on(&self, form: &Self) -> Self {
        let mut filled = form.clone();
        for (name, value) in &mut filled.0 {
            if self.0.contains_key(name) {
                *value = self.get(name).to_owned();
            }
        }
        filled
    }

    /// Returns all of them.
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_form_sends() {
        let fields = Fields::of_query("q=SELECT+1%20%2B%0A1&empty=&q=last&%ff=x&lone");
        assert_eq!(fields.get("q"), "last");
        assert_eq!(fields.some("empty"), None);
        assert_eq!(fields.get("nothing"), "");
        assert_eq!(Fields::of_query("a=%E4%B8%AD+%26").get("a"), "中 &");
    }

    #[test]
    fn what_is_not_named_stays_as_the_form_has_it() {
        let form = Fields::new([("by", "turn".to_owned()), ("lang", "en".to_owned())]);
        let asked = Fields::of_query("lang=zh&other=1");
        let filled = Fields::new([("by", "turn".to_owned()), ("lang", "zh".to_owned())]);
        assert_eq!(asked.on(&form), filled);
        let emptied = Fields::new([("by", String::new()), ("lang", "en".to_owned())]);
        assert_eq!(Fields::of_query("by=").on(&form), emptied);
    }
}
