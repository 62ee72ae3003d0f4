//! Who calls and what they may do: roles, grants, and scopes, in which tokens carry grants.

use std::fmt;
use std::sync::Arc;

use movies_store::key::CollectionName;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// The most grants that one caller is given: more are no roles but a mistake, or an attack.
const GRANTS_MAX: usize = 64;
/// The longest that they may be as scopes: they travel in tokens, of which [`TOKEN_BYTES_MAX`] bytes
/// are looked at, and base64 makes four of three.
///
/// [`TOKEN_BYTES_MAX`]: super::token::TOKEN_BYTES_MAX
const SCOPES_BYTES_MAX: usize = 4 * 1024;

/// What stands for itself in a scope (RFC 6749 section 3.3) and in a list of roles.
const VERBATIM: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'\\').add(b'%').add(b',').add(b'#');

/// What a caller is; each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May read movies and how collections stand.
    Reader,
    /// May store and delete movies, and create collections.
    Writer,
    /// May drop collections.
    Admin,
}

impl Role {
    const ALL: [Self; 3] = [Self::Reader, Self::Writer, Self::Admin];

    /// As it is written in a users file and in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// The last word of its scope.
    fn scope(self) -> &'static str {
        match self {
            Self::Reader => "read",
            Self::Writer => "write",
            Self::Admin => "admin",
        }
    }
}

/// What a request is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See movies, or how a collection stands.
    Read,
    /// Store or delete a movie, create a collection.
    Write,
    /// Drop a collection.
    Admin,
}

impl Action {
    /// The least role that may.
    fn role(self) -> Role {
        match self {
            Self::Read => Role::Reader,
            Self::Write => Role::Writer,
            Self::Admin => Role::Admin,
        }
    }

    /// The scope that is asked for.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Read => "movies:read",
            Self::Write => "movies:write",
            Self::Admin => "movies:admin",
        }
    }
}

/// A role in one collection, or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What the caller is there.
    pub role: Role,
    /// Where; everywhere if none.
    pub collection: Option<CollectionName>,
}

impl Grant {
    fn covers(&self, action: Action, collection: &CollectionName) -> bool {
        self.role >= action.role() && self.collection.as_ref().is_none_or(|name| name == collection)
    }

    /// Whether it allows all that the other one does.
    fn includes(&self, other: &Self) -> bool {
        self.role >= other.role
            && (self.collection.is_none() || self.collection == other.collection)
    }

    /// What both allow.
    fn and(&self, other: &Self) -> Option<Self> {
        let collection = match (&self.collection, &other.collection) {
            (Some(one), Some(other)) if one != other => return None,
            (one, other) => one.as_ref().or(other.as_ref()).cloned(),
        };
        Some(Self { role: self.role.min(other.role), collection })
    }

    fn suffix(&self) -> Option<String> {
        let name = self.collection.as_ref()?;
        Some(utf8_percent_encode(name.as_str(), VERBATIM).to_string())
    }
}

/// Everything that a caller may do. No grant in it says what another one says already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// A role in every collection.
    #[must_use]
    pub fn everywhere(role: Role) -> Self {
        Self(vec![Grant { role, collection: None }])
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any grant covers this.
    #[must_use]
    pub fn may(&self, action: Action, collection: &CollectionName) -> bool {
        self.0.iter().any(|grant| grant.covers(action, collection))
    }

    /// One grant more; beyond a bound it is dropped.
    pub fn add(&mut self, grant: Grant) {
        self.include(grant);
        self.0.truncate(GRANTS_MAX);
    }

    fn include(&mut self, grant: Grant) {
        if !self.0.iter().any(|known| known.includes(&grant)) {
            self.0.retain(|known| !grant.includes(known));
            self.0.push(grant);
        }
    }

    /// What another one allows, too.
    pub fn extend(&mut self, other: &Self) {
        other.0.iter().cloned().for_each(|grant| self.add(grant));
    }

    /// What both allow.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = Self::default();
        for one in &self.0 {
            // At most one for each collection that either names: it needs no bound of its own.
            other.0.iter().filter_map(|other| one.and(other)).for_each(|grant| both.include(grant));
        }
        both
    }

    /// Reads `reader`, `writer,admin:other.json`: the form of users files and of the
    /// configuration. In a collection's name, `%20` is a space and `%2C` a comma.
    ///
    /// # Errors
    /// Which part is no role.
    pub fn parse_roles(text: &str) -> Result<Self, String> {
        let mut grants = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (role, collection) = split_collection(part);
            let role = Role::parse(role)
                .ok_or_else(|| format!("{part:?} is no role; write reader, writer or admin, or writer:other.json for one collection"))?;
            let collection = collection.map(decode_collection).transpose()?;
            grants.include(Grant { role, collection });
            if grants.0.len() > GRANTS_MAX {
                break;
            }
        }
        if grants.is_empty() {
            return Err("no role is given; write reader, writer or admin".to_owned());
        }
        if grants.0.len() > GRANTS_MAX || grants.to_string().len() > SCOPES_BYTES_MAX {
            return Err(format!(
                "these are too many roles for one caller: at most {GRANTS_MAX}, and {SCOPES_BYTES_MAX} bytes as scopes of a token; give a role in all collections, or make several users"
            ));
        }
        Ok(grants)
    }

    /// As [`Self::parse_roles`] reads it.
    #[must_use]
    pub fn roles(&self) -> String {
        self.joined(",", |grant| grant.role.name().to_owned())
    }

    /// Reads the scopes of ours among those of a token. Others are somebody else's and mean
    /// nothing here; what is no scope of ours grants nothing.
    #[must_use]
    pub fn parse_scopes(text: &str) -> Self {
        let mut grants = Self::default();
        text.split(' ').filter_map(parse_scope).for_each(|grant| grants.add(grant));
        grants
    }

    fn joined(&self, separator: &str, name: impl Fn(&Grant) -> String) -> String {
        let part = |grant: &Grant| match grant.suffix() {
            Some(collection) => format!("{}:{collection}", name(grant)),
            None => name(grant),
        };
        self.0.iter().map(part).collect::<Vec<_>>().join(separator)
    }
}

/// Scopes, separated by spaces.
impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.joined(" ", |grant| format!("movies:{}", grant.role.scope())))
    }
}

/// `movies:write`, `movies:write:other.json`.
fn parse_scope(scope: &str) -> Option<Grant> {
    let (word, collection) = split_collection(scope.strip_prefix("movies:")?);
    let role = Role::ALL.into_iter().find(|role| role.scope() == word)?;
    let collection = collection
        .map(|name| decode_collection(name).ok())
        .map_or(Some(None), |name| name.map(Some))?;
    Some(Grant { role, collection })
}

fn split_collection(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(word, name)| (word, Some(name)))
}

fn decode_collection(text: &str) -> Result<CollectionName, String> {
    let name = percent_decode_str(text).decode_utf8();
    let name = name.map_err(|_not_utf8| format!("{text:?} is not UTF-8 when decoded"))?;
    CollectionName::parse(&name).map_err(|error| error.to_string())
}

/// Who calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Identity>);

#[derive(Debug)]
struct Identity {
    actor: Option<Arc<str>>,
    grants: Grants,
}

impl Caller {
    /// Somebody known, under the name that stands in the log and in audit lines.
    #[must_use]
    pub fn known(actor: Arc<str>, grants: Grants) -> Self {
        Self(Arc::new(Identity { actor: Some(actor), grants }))
    }

    /// Nobody in particular.
    #[must_use]
    pub fn anonymous(grants: Grants) -> Self {
        Self(Arc::new(Identity { actor: None, grants }))
    }

    /// The name that stands in commits and audit lines; none where nobody said who they are.
    #[must_use]
    pub fn actor(&self) -> Option<&Arc<str>> {
        self.0.actor.as_ref()
    }

    /// Whether the caller may do this.
    #[must_use]
    pub fn may(&self, action: Action, collection: &CollectionName) -> bool {
        self.0.grants.may(action, collection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> CollectionName {
        CollectionName::parse(text).unwrap()
    }

    #[test]
    fn a_higher_role_includes_the_lower_ones() {
        let movies = CollectionName::default();
        for (role, may) in [
            (Role::Reader, [true, false, false]),
            (Role::Writer, [true, true, false]),
            (Role::Admin, [true, true, true]),
        ] {
            let grants = Grants::everywhere(role);
            let actions = [Action::Read, Action::Write, Action::Admin];
            assert_eq!(actions.map(|action| grants.may(action, &movies)), may, "{role:?}");
        }
        assert!(!Grants::default().may(Action::Read, &movies));
    }

    #[test]
    fn a_grant_for_one_collection_is_for_no_other() {
        let grants = Grants::parse_scopes("movies:read movies:write:a%20b.json");
        assert!(grants.may(Action::Write, &name("a b.json")));
        assert!(!grants.may(Action::Write, &name("a.json")));
        assert!(grants.may(Action::Read, &name("a.json")));
        assert!(!grants.may(Action::Admin, &name("a b.json")));
    }

    #[test]
    fn scopes_of_others_grant_nothing() {
        for foreign in [
            "",
            "openid profile",
            "movies",
            "movies:",
            "movies:own",
            "movies:read:",
            "movies:read:../x",
            "MOVIES:READ",
            "movies:read:a:b",
            "movies:read:%FF",
        ] {
            assert!(Grants::parse_scopes(foreign).is_empty(), "{foreign}");
        }
    }

    #[test]
    fn what_is_no_role_is_told() {
        for wrong in ["", ",", "writers", "writer:", "writer:/x", "reader,own"] {
            assert!(Grants::parse_roles(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            Grants::parse_roles("reader,writer:b.json").unwrap().roles(),
            "reader,writer:b.json"
        );
    }

    #[test]
    fn more_roles_than_a_token_holds_are_refused_and_none_is_dropped() {
        let roles = |count: usize, pad: &str| {
            let all: Vec<_> = (0..count).map(|n| format!("writer:{pad}{n}.json")).collect();
            Grants::parse_roles(&all.join(","))
        };
        assert_eq!(roles(GRANTS_MAX, "").unwrap().0.len(), GRANTS_MAX);
        assert!(roles(GRANTS_MAX + 1, "").unwrap_err().contains("at most 64"));
        assert!(roles(40, &"é".repeat(30)).unwrap_err().contains("too many"));
    }

    #[test]
    fn what_a_caller_may_do_is_the_same_after_it_was_in_a_token() {
        let rest: Vec<_> = (1..GRANTS_MAX).map(|n| format!("writer:{n}.json")).collect();
        let user = Grants::parse_roles(&format!("reader,{}", rest.join(","))).unwrap();
        assert_eq!(Grants::parse_scopes(&user.to_string()).and(&user), user);
    }

    #[test]
    fn a_grant_that_another_one_includes_takes_no_place() {
        let roles = |text| Grants::parse_roles(text).unwrap().roles();
        assert_eq!(
            roles("reader:a.json,writer:a.json,reader:b.json"),
            "writer:a.json,reader:b.json"
        );
        assert_eq!(roles("reader:a.json,writer,admin:b.json,reader"), "writer,admin:b.json");
    }

    #[test]
    fn both_allow_what_each_allows() {
        let scopes = |one: &str, other: &str| {
            Grants::parse_scopes(one).and(&Grants::parse_scopes(other)).to_string()
        };
        assert_eq!(scopes("movies:admin", "movies:read"), "movies:read");
        assert_eq!(scopes("movies:write", "movies:admin:a.json"), "movies:write:a.json");
        assert_eq!(scopes("movies:write:a.json", "movies:write:b.json"), "");
        assert_eq!(scopes("movies:write", ""), "");
    }

    fn any_grants() -> impl Strategy<Value = Grants> {
        let collection = proptest::option::of("[A-Za-z0-9 _,+=@()!'é-]{1,12}");
        let grant = (0..3_usize, collection).prop_map(|(role, collection)| Grant {
            role: Role::ALL[role],
            collection: collection.map(|text| name(&text)),
        });
        proptest::collection::vec(grant, 1..6).prop_map(|all| {
            let mut grants = Grants::default();
            all.into_iter().for_each(|grant| grants.add(grant));
            grants
        })
    }

    proptest! {
        #[test]
        fn scopes_and_roles_come_back(grants in any_grants()) {
            prop_assert_eq!(&Grants::parse_scopes(&grants.to_string()), &grants);
            prop_assert_eq!(&Grants::parse_roles(&grants.roles()).unwrap(), &grants);
            let scopes = grants.to_string();
            prop_assert!(scopes.bytes().all(|b| matches!(b, b' ' | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)));
        }

        #[test]
        fn no_text_panics_or_grants_more_than_it_says(text in "\\PC{0,60}") {
            let grants = Grants::parse_scopes(&text);
            prop_assert!(grants.is_empty() || text.contains("movies:"));
            let _ = Grants::parse_roles(&text).is_ok();
        }

        #[test]
        fn what_both_allow_each_allows(one in any_grants(), other in any_grants()) {
            let both = one.and(&other);
            for grant in &both.0 {
                let there = grant.collection.clone().unwrap_or_default();
                for action in [Action::Read, Action::Write, Action::Admin] {
                    if both.may(action, &there) {
                        prop_assert!(one.may(action, &there) && other.may(action, &there));
                    }
                }
            }
        }
    }
}
