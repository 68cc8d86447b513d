//! One suite over all back ends of the store. Each test is a function of an empty store; the macro
//! at the end runs every one of them on every back end.

mod store {
    pub mod branches;
    pub mod fixture;
    pub mod reading;
    pub mod slices;
    pub mod transactions;
    pub mod watches;
    pub mod writers;
}

use store::fixture::Fixture;
use store::{branches, reading, slices, transactions, watches, writers};

macro_rules! over_all_back_ends {
    ($($module:ident :: $test:ident,)*) => {
        mod memory {
            $(#[test] fn $test() { super::$module::$test(&super::Fixture::memory()); })*
        }
        mod git {
            $(#[test] fn $test() { super::$module::$test(&super::Fixture::git()); })*
        }
        mod rest {
            $(#[test] fn $test() { super::$module::$test(&super::Fixture::rest()); })*
        }
    };
}

over_all_back_ends! {
    reading::values_are_set_read_and_removed,
    reading::directories_are_listed,
    reading::subtrees_move_as_one,
    reading::test_and_set_writes_only_over_what_it_expects,
    reading::a_view_never_changes,
    reading::types_are_kept_and_checked,
    reading::the_log_tells_who_when_and_why,
    transactions::reads_answer_from_the_beginning_and_from_own_writes,
    transactions::alone_it_moves_the_branch_forward,
    transactions::changes_of_different_paths_merge,
    transactions::a_blind_write_is_replayed,
    transactions::a_read_that_answers_differently_is_a_conflict,
    transactions::a_listing_that_answers_differently_is_a_conflict,
    transactions::a_value_in_the_way_is_a_conflict,
    transactions::nothing_written_moves_nothing,
    transactions::a_first_commit_can_race,
    transactions::counters_add_up,
    transactions::the_same_change_twice_is_a_conflict,
    branches::both_orders_write_the_same_merge_commit,
    branches::a_conflict_names_paths_and_both_sides,
    branches::three_heads_unite_in_one_commit_everywhere,
    branches::several_ancestors_fold_into_one_base,
    branches::beyond_sixteen_ancestors_there_is_no_base,
    branches::revert_undoes_one_commit_and_keeps_the_rest,
    branches::branches_are_made_moved_and_deleted,
    branches::what_breaks_a_rule_is_refused,
    branches::a_merge_that_breaks_a_rule_is_a_conflict,
    slices::a_squash_keeps_ids_and_states,
    slices::a_squash_keeps_both_parents_of_a_merge,
    slices::a_slice_goes_to_another_store,
    slices::a_slice_can_be_the_beginning,
    slices::damaged_slices_are_refused,
    watches::every_state_is_reported,
    watches::scopes_select,
    watches::a_slow_watch_is_told_that_states_are_missing,
    watches::events_applied_in_order_give_the_state,
    writers::disjoint_paths_never_conflict,
    writers::one_path_has_one_winner_per_round,
    writers::long_transactions_finish_among_short_ones,
}
