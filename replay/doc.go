// Package replay reads topics again: to see what that would do ([DryRun]), to check the
// entities against what the topics make of them ([Verify]), to apply what was missed ([Apply]),
// to repair entities ([Rebuild]), and to let a group begin somewhere else ([MoveOffsets]).
//
// All of them read from the beginning, a timestamp or offsets ([From]) to where the topics end
// when the replay begins, or where the workers' group has committed (Config.Group). They do not
// join the group, so the workers may go on.
//
// # Dry run
//
// A dry run judges the records as the workers would, and says how many get which verdict for which
// reason, with samples. It writes nothing and holds no locks, needs only the right to read, and
// may run on a standby. If the decoder has changed since the records were applied, it counts those
// that are decoded to something else now (Report.Redecoded), and says what differs
// ([Redecoding]). For that, it reads the history once at the end, in parts, if records are no
// duplicates; if that fails, the report has the caveat [Decoder]. What the records would change is
// kept in memory, and in a temporary file if there is much of it.
//
// # Verify
//
// A verification makes every entity anew, from the topics alone, in a schema of its own, the
// shadow. Then it compares rows and histories with the live ones, all in one snapshot. Each
// [Difference] says which entity differs, how, and at which step first. Columns that the framework
// does not write are left out.
//
// The shadow is made of unlogged tables. If the process is killed, the next call goes on. If the
// server crashes, the tables are empty, and the verification begins again. One replay at a time
// uses a shadow. A schema that no replay has made is never touched.
//
// # What can't be proven
//
// A replay says what it can't prove, before it begins (Config.Begin) and in its report: that the
// topic has lost records to retention or compaction, that the history was pruned, or that steps
// did not come from the topic. Steps of timers, jobs and callers of Store.Do are taken from the
// history as they are, if their events take no data: the history does not have that. An entity is
// compared up to its first other step from elsewhere, such as one of a migration, of another topic,
// or of an earlier topic of the same name.
//
// Some things depend on more than the order of each partition. If records of different partitions
// move the same entity, or compete for a value in a unique index, a replay may take them in another
// order than the workers did. A step of a timer or a caller is made as soon as the copy has the
// version before it, so a record that was refused before that step may be accepted. A record that has waited for longer than Table.ParkFor is a dead letter in
// the database, and is still waiting in a replay. Triggers and foreign keys do not exist in the
// shadow. Such entities are reported as different, although nobody made a mistake.
//
// # Rebuild
//
// A rebuild replaces entities by what the topics make of them, each in one transaction, which
// keeps the old row, history, parked records, dead letters and timers in table pawl.replaced.
// It causes no message and no job. An entity with steps that did not come from what was read, other
// than those of timers, is refused. Each transaction waits for those of the workers, and lets them
// wait, for a moment: see [postgres.Exclude].
//
// # Resuming
//
// All of them may be interrupted at any moment and called again with the same configuration.
// DryRun and Apply keep how far they are in a file (Config.State), the others in the shadow. A
// dry run that has read anything but duplicates begins again. Records that are read a second time
// count as duplicates.
package replay
