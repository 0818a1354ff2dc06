//! A layout that grows while timelines are there: they answer as if it had been so from the start.

use proptest::prelude::*;
use thyme_core::expr::{Compiled, Expr, Literal, LiteralValue, Operator};
use thyme_core::{DataType, Position, Value};
use thyme_timeline::{Judge, Layout, Timeline};

use crate::support::check::check;
use crate::support::{Case, all_slots, batch_of, case, stored};

/// What a predicate says of a row.
type Says = Box<dyn Fn(&[Value]) -> bool>;

/// Predicates that come later, each with what it says of a row.
fn later(types: &[DataType]) -> Vec<(Expr, Says)> {
    let column = |index: usize| Expr::Column { col: format!("c{index}") };
    let lit = |lit, data_type| Expr::Literal(Literal { lit, data_type: Some(data_type) });
    let mut all: Vec<(Expr, Says)> =
        vec![(lit(LiteralValue::Bool(true), DataType::Bool), Box::new(|_| true))];
    for (index, data_type) in types.iter().enumerate() {
        let is_null = Expr::Call { op: Operator::IsNull.into(), args: vec![column(index)] };
        let (constant, says): (_, Says) = match data_type {
            DataType::Int => (
                lit(LiteralValue::Int(3), DataType::Int),
                Box::new(move |row| matches!(row[index], Value::Int(v) if v > 3)),
            ),
            DataType::Float => (
                lit(LiteralValue::Float(0.5), DataType::Float),
                Box::new(move |row| matches!(row[index], Value::Float(v) if v > 0.5)),
            ),
            DataType::Str => (
                lit(LiteralValue::Str("b".into()), DataType::Str),
                Box::new(move |row| matches!(&row[index], Value::Str(v) if **v > *"b")),
            ),
            _ => {
                all.push((is_null, Box::new(move |row| row[index] == Value::Null)));
                continue;
            }
        };
        all.push((Expr::Call { op: Operator::Gt.into(), args: vec![column(index), constant] }, says));
    }
    all
}

/// The case with the verdicts of predicates that came later, and the layout that has them behind those that it had.
fn grown(case: &Case, before: &Layout) -> (Case, Layout) {
    let (mut case, later) = (case.clone(), later(&case.types));
    case.predicates += later.len();
    for row in &mut case.rows {
        let verdicts: Vec<bool> = later.iter().map(|(_, says)| says(&row.values)).collect();
        row.predicates.extend(verdicts);
    }
    let mut layout = all_slots(&case.types, case.predicates);
    let is_known = |slot: &thyme_timeline::Slot| slot.predicate.is_none_or(|p| p < before.predicates);
    layout.slots.retain(|slot| !is_known(slot));
    layout.slots.splice(0..0, before.slots.iter().cloned());
    let names: Vec<String> = (0..case.types.len()).map(|index| format!("c{index}")).collect();
    let columns: Vec<_> = names.iter().cloned().zip(case.types.iter().copied()).collect();
    let judges = later.iter().map(|(expr, _)| Judge::new(&Compiled::new(expr, &columns).unwrap(), &names));
    layout.judges = vec![None; before.predicates];
    layout.judges.extend(judges);
    assert!(layout.judges[before.predicates..].iter().all(Option::is_some));
    (case, layout)
}

fn with_rows(case: &Case, rows: &[usize]) -> Case {
    let mut part = case.clone();
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    part.rows = rows.iter().map(|row| case.rows[*row].clone()).collect();
    part
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_timeline_of_before_answers_what_came_later(case in case(), cut in 0usize..=100, steps in 1usize..9) {
        let before = all_slots(&case.types, case.predicates);
        let (all, layout) = grown(&case, &before);
        let (first, rest) = case.order.split_at(case.order.len() * cut / 100);
        let (old_batch, batch) = (batch_of(&case), batch_of(&all));
        let mut timeline = Timeline::with_chunk_rows_max(case.chunk_rows_max);
        for row in first {
            timeline.insert(&before, &old_batch, *row);
        }
        timeline.seal(&before);
        let part = with_rows(&all, first);
        check(&part, &layout, &timeline, Position::MAX)?;

        // One that reads beside it believes nothing of what another layout has put behind.
        let mut beside = layout.clone();
        beside.shared = Some((before.predicates, before.slots.len()));
        check(&part, &beside, &timeline, case.at)?;

        // What was stored before is read now.
        let chunks = stored(&mut timeline, &layout);
        let refs = || chunks.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
        let loaded = Timeline::from_chunks(&layout, refs(), Position::MAX).unwrap();
        prop_assert!(loaded.is_ripe(&layout));
        check(&part, &layout, &loaded, case.at)?;

        let mut ripe = Timeline::from_chunks(&before, refs(), Position::MAX).unwrap();
        let bytes = ripe.bytes();
        for _ in 0..steps {
            ripe.ripen(&layout, 1);
        }
        check(&part, &layout, &ripe, case.at)?;
        ripe.ripen(&layout, usize::MAX);
        prop_assert!(ripe.is_ripe(&layout) && ripe.bytes() >= bytes && !ripe.is_dirty());
        check(&part, &layout, &ripe, Position::MAX)?;

        // And rows go on coming, to each of them.
        for mut timeline in [timeline, loaded, ripe] {
            for (done, row) in rest.iter().enumerate() {
                prop_assert!(timeline.insert(&layout, &batch, *row));
                if done % case.seal_every == 0 {
                    timeline.seal(&layout);
                    prop_assert!(first.is_empty() || !timeline.insert(&layout, &batch, first[done % first.len()]));
                }
            }
            timeline.seal(&layout);
            check(&all, &layout, &timeline, case.at)?;
            timeline.ripen(&layout, usize::MAX);
            prop_assert!(timeline.is_ripe(&layout));
            check(&all, &layout, &timeline, Position::MAX)?;
            // A crash may undo what made the layout grow.
            timeline.mark_dirty();
            let chunks = stored(&mut timeline, &layout);
            let refs = chunks.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
            let earlier = Timeline::from_chunks(&before, refs, case.at).unwrap();
            check(&case, &before, &earlier, case.at)?;
        }
    }
}

#[test]
fn a_chunk_that_lacks_what_its_rows_do_not_tell_is_not_read() {
    let before = all_slots(&[DataType::Int], 0);
    let case = Case {
        types: vec![DataType::Int],
        predicates: 0,
        rows: vec![thyme_oracle::Row {
            time: thyme_core::EventTime(1),
            position: Position::new(1, 0),
            values: vec![Value::Int(1)],
            predicates: Vec::new(),
        }],
        order: vec![0],
        chunk_rows_max: 256,
        seal_every: 1,
        labels: Vec::new(),
        windows: Vec::new(),
        at: Position::MAX,
    };
    let mut timeline = Timeline::new();
    timeline.insert(&before, &batch_of(&case), 0);
    let chunks = stored(&mut timeline, &before);
    let refs = chunks.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
    let error = Timeline::from_chunks(&all_slots(&[DataType::Int], 1), refs, Position::MAX).unwrap_err();
    assert!(error.detail().contains("fewer predicates than the pipeline needs"), "{error}");
}
