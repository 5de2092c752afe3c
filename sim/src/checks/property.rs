//! A property: what a check shows, and where that comes from.

/// One line of `aspen-sim list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name, in kebab case, as violations carry it.
    pub name: &'static str,
    /// The paper, section or formula that it comes from.
    pub source: &'static str,
    /// What holds, in one line.
    pub claim: &'static str,
}
