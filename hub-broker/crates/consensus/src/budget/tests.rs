use super::*;

#[test]
fn nobody_gets_more_than_is_left_and_what_comes_back_can_be_had_again() {
    let budget = TailBudget::new(100);
    let (mut first, mut second) = (Share::new(budget.clone()), Share::new(budget));
    assert_eq!(first.resize(70), 70);
    assert_eq!(second.resize(70), 30);
    assert_eq!(first.resize(50), 50);
    assert_eq!(second.resize(70), 50);
    drop(first);
    assert_eq!(second.resize(200), 100);
    assert_eq!(second.resize(0), 0);
}
