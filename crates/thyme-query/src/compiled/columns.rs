//! Runs a program over many rows at once, an instruction over a whole group of them.
//!
//! Rows part at a jump and meet again: since jumps only go forward, running always the group that is furthest behind
//! has all the others waiting where they arrived, and those that arrive at one place become one group. What is not
//! sure here is left to the [`Machine`], row by row from the beginning, so its word is the last either way.

use std::collections::BTreeMap;
use std::rc::Rc;

use thyme_core::{DataType, EventTime};

use super::lane::{Builder, Kind, Lane};
use super::machine::Machine;
use super::object::Object;
use super::program::{Instruction, Program};
use super::time::is_python_time;
use super::vector::{self, Done, Truth};
use super::{Computed, Deferred};
use crate::column::ColumnBuffer;
use crate::extractor::LookupContext;

/// Rows that are at one instruction, with what each has there.
struct Group {
    rows: Vec<u32>,
    stack: Vec<Rc<Lane>>,
    locals: Vec<Option<Rc<Lane>>>,
}

/// A program with what it reads.
pub(super) struct Columns<'a> {
    program: &'a Program,
    inputs: &'a [&'a ColumnBuffer],
    times: &'a [EventTime],
    machine: Machine<'a>,
    /// Where each local is read for the last time.
    read_until: Vec<usize>,
    /// Groups of fewer rows are left to the machine.
    group_min: usize,
    unsure: Vec<u32>,
}

/// Takes what rows return; gives those that it is not sure of, by their place among them.
pub(super) trait Sink {
    fn take(&mut self, rows: &[u32], returned: &Lane) -> Vec<u32>;
}

impl<'a> Columns<'a> {
    pub fn new(
        program: &'a Program,
        times: &'a [EventTime],
        inputs: &'a [&'a ColumnBuffer],
        context: Option<&'a LookupContext>,
        group_min: usize,
    ) -> Columns<'a> {
        let mut read_until = vec![0; program.locals];
        for (place, instruction) in program.code.iter().enumerate() {
            if let Instruction::Load(index) = instruction {
                read_until[*index] = place;
            }
        }
        let machine = Machine::new(program, inputs, context);
        Columns { program, inputs, times, machine, read_until, group_min, unsure: Vec::new() }
    }

    /// Runs rows and hands `sink` what they return. Gives those that are left to the machine, in ascending order.
    pub fn run(&mut self, rows: impl Iterator<Item = u32>, sink: &mut impl Sink) -> Vec<u32> {
        let (sure, unsure) = rows.partition(|&row| self.has_python_times(row as usize));
        self.unsure = unsure;
        let first = Group { rows: sure, stack: Vec::new(), locals: vec![None; self.program.locals] };
        let mut waiting = BTreeMap::from([(0, first)]);
        while let Some((place, group)) = waiting.pop_first() {
            self.advance(place, group, &mut waiting, sink);
        }
        let mut unsure = std::mem::take(&mut self.unsure);
        unsure.sort_unstable();
        unsure
    }

    /// CPython makes an object of every time that it is given, used or not; of lists and the like only it makes one.
    fn has_python_times(&self, row: usize) -> bool {
        is_python_time(self.times[row].0)
            && self.inputs.iter().all(|input| match (input.data_type(), input.words()) {
                (DataType::Datetime, Some((words, valid))) => {
                    !valid[row] || is_python_time(words[row] as i64)
                }
                (DataType::Str, _) => true,
                (_, None) => input.is_null(row),
                _ => true,
            })
    }

    /// Runs a group until it ends, or comes to where others wait.
    fn advance(
        &mut self,
        mut place: usize,
        mut group: Group,
        waiting: &mut BTreeMap<usize, Group>,
        sink: &mut impl Sink,
    ) {
        while group.rows.len() >= self.group_min.max(1) {
            let next = match self.program.code.get(place) {
                None | Some(Instruction::Return) => {
                    if let Some(returned) = group.stack.pop() {
                        let unsure = sink.take(&group.rows, &returned);
                        self.leave(&group.rows, &unsure);
                        return;
                    }
                    break;
                }
                Some(Instruction::Jump(to)) => Ok(*to),
                Some(Instruction::JumpIfFalse(to)) => {
                    self.part(place, &mut group, (false, *to), Kept::Never, waiting)
                }
                Some(Instruction::JumpIfFalseOrPop(to)) => {
                    self.part(place, &mut group, (false, *to), Kept::IfJumping, waiting)
                }
                Some(Instruction::JumpIfTrueOrPop(to)) => {
                    self.part(place, &mut group, (true, *to), Kept::IfJumping, waiting)
                }
                Some(instruction) => self.step(instruction, &mut group).map(|()| place + 1),
            };
            let Ok(next) = next else { break };
            place = next;
            if waiting.first_key_value().is_some_and(|(&other, _)| other <= place) {
                self.wait(place, group, waiting);
                return;
            }
        }
        self.unsure.extend(group.rows);
    }

    /// Has a group wait at a place, with those that wait there.
    fn wait(&mut self, place: usize, group: Group, waiting: &mut BTreeMap<usize, Group>) {
        let Some(other) = waiting.remove(&place) else {
            waiting.insert(place, group);
            return;
        };
        if other.stack.len() != group.stack.len() {
            self.unsure.extend(group.rows);
            waiting.insert(place, other);
            return;
        }
        let sizes = (other.rows.len(), group.rows.len());
        let join = |a: &Rc<Lane>, b: &Rc<Lane>| Rc::new(Lane::joined((a, sizes.0), (b, sizes.1)));
        let stack = other.stack.iter().zip(&group.stack).map(|(a, b)| join(a, b)).collect();
        let locals = other.locals.iter().zip(&group.locals).enumerate();
        // What only one of them has was not assigned to in the other.
        let locals = locals.map(|(local, pair)| match pair {
            (Some(a), Some(b)) if self.read_until[local] >= place => Some(join(a, b)),
            _ => None,
        });
        let locals = locals.collect();
        let mut rows = other.rows;
        rows.extend(group.rows);
        waiting.insert(place, Group { rows, stack, locals });
    }

    /// Parts a group at a jump `to` for those whose last object is `wanted`; gives where what is left of it goes on.
    fn part(
        &mut self,
        place: usize,
        group: &mut Group,
        (wanted, to): (bool, usize),
        kept: Kept,
        waiting: &mut BTreeMap<usize, Group>,
    ) -> Computed<usize> {
        let last = group.stack.pop().ok_or(Deferred)?;
        let each = match vector::truth(&last, group.rows.len()) {
            Truth::All(is_true) => {
                if is_true != wanted {
                    return Ok(place + 1);
                }
                if kept == Kept::IfJumping {
                    group.stack.push(last);
                }
                return Ok(to);
            }
            Truth::Each(each) => each,
        };
        let (jumping, staying): (Vec<u32>, Vec<u32>) =
            (0..group.rows.len() as u32).partition(|&row| each[row as usize] == wanted);
        if !jumping.is_empty() {
            let mut jumping_group = self.picked(group, &jumping, to);
            if kept == Kept::IfJumping {
                jumping_group.stack.push(Rc::new(last.pick(&jumping)));
            }
            if staying.is_empty() {
                *group = jumping_group;
                return Ok(to);
            }
            self.wait(to, jumping_group, waiting);
            *group = self.picked(group, &staying, place + 1);
        }
        Ok(place + 1)
    }

    /// Some rows of a group, with what they need from `place` on.
    fn picked(&self, group: &Group, rows: &[u32], place: usize) -> Group {
        let pick = |lane: &Rc<Lane>| match &**lane {
            Lane::Same(_) => lane.clone(),
            lane => Rc::new(lane.pick(rows)),
        };
        let locals = group.locals.iter().zip(&self.read_until);
        Group {
            rows: rows.iter().map(|&row| group.rows[row as usize]).collect(),
            stack: group.stack.iter().map(pick).collect(),
            locals: locals
                .map(|(local, &until)| local.as_ref().filter(|_| until >= place).map(pick))
                .collect(),
        }
    }

    /// Leaves rows of a group to the machine.
    fn leave(&mut self, rows: &[u32], unsure: &[u32]) {
        self.unsure.extend(unsure.iter().map(|&row| rows[row as usize]));
    }

    /// An instruction that does not jump.
    fn step(&mut self, instruction: &Instruction, group: &mut Group) -> Computed<()> {
        use Instruction as I;
        let lane = match instruction {
            I::Defer => return Err(Deferred),
            I::Constant(index) => {
                Rc::new(Lane::Same(self.program.constants.get(*index).ok_or(Deferred)?.clone()))
            }
            I::Input(index) => Rc::new(input(self.inputs.get(*index).ok_or(Deferred)?, &group.rows)),
            I::Time => {
                let times = group.rows.iter().map(|&row| self.times[row as usize].0 as u64);
                Rc::new(Lane::words(Kind::Moment, times.collect()))
            }
            I::Load(index) => group.locals.get(*index).cloned().flatten().ok_or(Deferred)?,
            I::Store(index) => {
                let lane = group.stack.pop().ok_or(Deferred)?;
                *group.locals.get_mut(*index).ok_or(Deferred)? = Some(lane);
                return Ok(());
            }
            I::Pop => return group.stack.pop().map(|_| ()).ok_or(Deferred),
            I::Tuple(count) => {
                let from = group.stack.len().checked_sub(*count).ok_or(Deferred)?;
                Rc::new(Lane::Tuple(group.stack.split_off(from)))
            }
            I::Unpack(count) if let Some(Lane::Tuple(items)) = group.stack.last().map(|lane| &**lane) => {
                let items = items.clone();
                if items.len() != *count {
                    return Err(Deferred);
                }
                group.stack.pop();
                group.stack.extend(items.into_iter().rev());
                return Ok(());
            }
            _ => return self.compute(instruction, group),
        };
        group.stack.push(lane);
        Ok(())
    }

    /// An instruction that computes something of what is on the stack.
    fn compute(&mut self, instruction: &Instruction, group: &mut Group) -> Computed<()> {
        let from = group.stack.len().checked_sub(operands(instruction)).ok_or(Deferred)?;
        let operands = group.stack.split_off(from);
        let quick = match (instruction, operands.as_slice()) {
            (Instruction::Binary(operator), [left, right]) => vector::binary(*operator, left, right),
            (Instruction::Call(function, _), arguments) => vector::call(*function, arguments),
            (Instruction::Part(part), [of]) => vector::part_of(of, *part),
            (Instruction::Compare(comparison), [left, right]) => {
                vector::compare(*comparison, left, right).map(|lane| Done { lane, unsure: Vec::new() })
            }
            (Instruction::Unary(super::arithmetic::Unary::Not), [of]) => {
                Some(Done { lane: vector::negated(of, group.rows.len()), unsure: Vec::new() })
            }
            _ => None,
        };
        let (lanes, unsure) = match quick {
            Some(Done { lane, unsure }) => (vec![lane], unsure),
            None => self.row_by_row(instruction, &operands, &group.rows)?,
        };
        group.stack.extend(lanes.into_iter().map(Rc::new));
        if !unsure.is_empty() {
            self.leave(&group.rows, &unsure);
            let mut is_unsure = vec![false; group.rows.len()];
            unsure.iter().for_each(|&row| is_unsure[row as usize] = true);
            let sure: Vec<u32> =
                (0..group.rows.len() as u32).filter(|&row| !is_unsure[row as usize]).collect();
            *group = self.picked(group, &sure, 0);
        }
        Ok(())
    }

    /// As the machine does it: what is left on the stack, and the rows that it defers.
    fn row_by_row(
        &mut self,
        instruction: &Instruction,
        operands: &[Rc<Lane>],
        rows: &[u32],
    ) -> Computed<(Vec<Lane>, Vec<u32>)> {
        let results = if let Instruction::Unpack(count) = instruction { *count } else { 1 };
        let is_constant = operands.iter().all(|lane| matches!(**lane, Lane::Same(_)));
        if is_constant && !matches!(instruction, Instruction::Lookup(..)) {
            let left = self.machine.apply(instruction, operands.iter().map(|lane| lane.get(0)), 0)?;
            return Ok((left.drain(..).map(Lane::Same).collect(), Vec::new()));
        }
        let mut made: Vec<Builder> = (0..results).map(|_| Builder::default()).collect();
        let mut unsure = Vec::new();
        for (place, &row) in rows.iter().enumerate() {
            let objects = operands.iter().map(|lane| lane.get(place));
            match self.machine.apply(instruction, objects, row as usize) {
                Ok(left) if left.len() == results => {
                    made.iter_mut().zip(left.drain(..)).for_each(|(made, object)| made.push(object));
                }
                _ => {
                    made.iter_mut().for_each(|made| made.push(Object::None));
                    unsure.push(place as u32);
                }
            }
        }
        Ok((made.into_iter().map(Builder::finish).collect(), unsure))
    }
}

/// Whether a jump leaves on the stack what it looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Never,
    IfJumping,
}

/// How many objects an instruction takes from the stack.
fn operands(instruction: &Instruction) -> usize {
    use Instruction as I;
    match instruction {
        I::Binary(_) | I::Compare(_) | I::Item => 2,
        I::Get => 3,
        I::Call(_, count) => *count,
        I::Dict(names) => names.len(),
        I::Lookup(_, names) => names.len() + 1,
        _ => 1,
    }
}

/// An input of some rows, whose times CPython has.
fn input(column: &ColumnBuffer, rows: &[u32]) -> Lane {
    let kind = match column.data_type() {
        DataType::Int => Some(Kind::Int),
        DataType::Float => Some(Kind::Float),
        DataType::Bool => Some(Kind::Bool),
        DataType::Datetime => Some(Kind::Moment),
        _ => None,
    };
    if let (Some(kind), Some((words, valid))) = (kind, column.words()) {
        let words = rows.iter().map(|&row| words[row as usize]).collect();
        let valid: Vec<bool> = rows.iter().map(|&row| valid[row as usize]).collect();
        return Lane::Words { kind, words, valid: Some(valid).filter(|valid| valid.contains(&false)) };
    }
    let mut made = Builder::default();
    for &row in rows {
        made.push(Object::given(column.get(row as usize)).unwrap_or(Object::None));
    }
    made.finish()
}
