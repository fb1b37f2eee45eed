//! What this hub is to one partition of the offsets topic.

use schemas::Term;
use tokio_util::sync::CancellationToken;

/// `T` is what a coordinator has in memory.
pub(crate) enum Standing<T> {
    /// Another hub coordinates its groups, or none does.
    Elsewhere,
    /// This hub does, from when it has read what they have committed.
    Loading(Term),
    /// Cancelled, `over` ends everything that runs for these groups.
    Here { term: Term, over: CancellationToken, loaded: T },
}

impl<T> Standing<T> {
    /// This hub serves the partition's shard in the term `serving`, or does not. Memory of any other term ends at once.
    /// Returns the term for which the partition is to be read, if it is.
    pub(crate) fn follow(&mut self, serving: Option<Term>) -> Option<Term> {
        let current = match self {
            Self::Loading(term) => Some(*term),
            Self::Here { term, over, .. } if !over.is_cancelled() => Some(*term),
            Self::Elsewhere | Self::Here { .. } => None,
        };
        if current.is_some() && current == serving {
            return None;
        }
        self.end();
        *self = serving.map_or(Self::Elsewhere, Self::Loading);
        serving
    }

    /// What was read for `term` takes effect, unless the term has passed meanwhile: then it comes back.
    pub(crate) fn admit(&mut self, term: Term, over: CancellationToken, loaded: T) -> Result<(), T> {
        if !self.is_loading(term) {
            return Err(loaded);
        }
        *self = Self::Here { term, over, loaded };
        Ok(())
    }

    pub(crate) fn is_loading(&self, term: Term) -> bool {
        matches!(self, Self::Loading(loading) if *loading == term)
    }

    /// What is in memory, as long as it counts.
    pub(crate) fn loaded(&self) -> Option<&T> {
        match self {
            Self::Here { over, loaded, .. } if !over.is_cancelled() => Some(loaded),
            _ => None,
        }
    }

    fn end(&self) {
        if let Self::Here { over, .. } = self {
            over.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Term = Term(3);
    const SECOND: Term = Term(5);

    fn here(term: Term) -> (Standing<&'static str>, CancellationToken) {
        let mut standing = Standing::Elsewhere;
        let over = CancellationToken::new();
        assert_eq!(standing.follow(Some(term)), Some(term));
        standing.admit(term, over.clone(), "groups").unwrap();
        (standing, over)
    }

    #[test]
    fn a_partition_is_read_once_for_a_term_and_then_it_is_here() {
        let mut standing = Standing::Elsewhere;
        assert_eq!(standing.follow(None), None);
        assert_eq!(standing.follow(Some(FIRST)), Some(FIRST));
        assert_eq!(standing.follow(Some(FIRST)), None, "it is being read");
        assert_eq!(standing.loaded(), None);
        standing.admit(FIRST, CancellationToken::new(), "groups").unwrap();
        assert_eq!((standing.follow(Some(FIRST)), standing.loaded()), (None, Some(&"groups")));
    }

    #[test]
    fn memory_ends_with_the_leadership() {
        let (mut standing, over) = here(FIRST);
        assert_eq!(standing.follow(None), None);
        assert!(over.is_cancelled());
        assert_eq!(standing.loaded(), None);
    }

    #[test]
    fn a_leader_that_was_elected_again_reads_again() {
        let (mut standing, over) = here(FIRST);
        assert_eq!(standing.follow(Some(SECOND)), Some(SECOND));
        assert!(over.is_cancelled());
        assert_eq!(standing.loaded(), None);
    }

    #[test]
    fn what_was_read_for_a_term_that_has_passed_is_not_taken() {
        let mut standing = Standing::Elsewhere;
        standing.follow(Some(FIRST));
        standing.follow(Some(SECOND));
        assert_eq!(standing.admit(FIRST, CancellationToken::new(), "old"), Err("old"));
        assert!(standing.is_loading(SECOND));
        standing.follow(None);
        assert_eq!(standing.admit(SECOND, CancellationToken::new(), "old"), Err("old"));
    }

    #[test]
    fn memory_that_a_refused_write_has_ended_is_read_again_in_the_same_term() {
        let (mut standing, over) = here(FIRST);
        over.cancel();
        assert_eq!(standing.loaded(), None, "nobody is answered from it");
        assert_eq!(standing.follow(Some(FIRST)), Some(FIRST));
    }
}
