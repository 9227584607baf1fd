package consumer

import (
	"context"
	"errors"

	"github.com/pawl-go/pawl/internal/kgorecord"
	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

// A decoder decodes batches. It belongs to the goroutine of Run.
type decoder struct{ *shared }

// errTaken is the Err of a record whose partition was taken away before it could be decoded. The
// applier drops the record, and the new owner of the partition decodes it.
var errTaken = versioning.Trouble(errors.New("the partition was taken away before the record could be decoded"))

// decode turns the batch's Kafka records into records that the store can apply. A Kafka
// record that can't be decoded becomes a record with an Err. While decoding a record is in
// trouble, decode retries it, and asks for none after it. It delays no rebalance. It leaves the
// batch incomplete if ctx ends or if it returns an error.
func (d *decoder) decode(ctx, work context.Context, b *batch) error {
	defer stopwatch(&b.took.decode)()
	b.records = make([]*versioning.Record, len(b.kafka))
	b.outcomes = make([]versioning.Outcome, len(b.kafka))
	maker := kgorecord.NewMaker(b.kafka, d.cfg.Decode, d.cfg.Store.Prepare)
	for _, s := range b.spans {
		taken := false
		for i := s.first; i < s.end; i++ {
			if taken {
				b.records[i] = maker.Undecoded(b.kafka[i], s.topicID)
				b.records[i].Err = errTaken
				continue
			}
			b.records[i] = maker.Make(b.kafka[i], s.topicID)
			if b.records[i].Trouble() == nil {
				continue
			}
			if err := d.retry(ctx, work, maker, s, b.records[i]); err != nil || ctx.Err() != nil {
				return d.cantContinue(err)
			}
			taken = b.records[i].Trouble() != nil
		}
	}
	return nil
}

// retry decodes a record again until that is no longer in trouble, ctx ends, or the record's
// partition is taken away. It returns an error if a hook panicked.
func (d *decoder) retry(ctx, work context.Context, maker *kgorecord.Maker, s span, rec *versioning.Record) error {
	defer d.vitals.decodes()
	for waits := d.cfg.backOff(); rec.Trouble() != nil; maker.Decode(rec) {
		wait := waits.NextBackOff()
		d.vitals.failedToDecode(s.String(), rec.Err)
		d.log.cantDecode(s.partition, rec.Err, wait)
		if err := hooks(d.cfg.Hooks).trouble(work, rec.Err, wait); err != nil {
			return err
		}
		if !pace.Sleep(ctx, wait) || d.partitions.tenureOf(s.partition) != s.tenure {
			return nil
		}
	}
	d.log.decodes()
	return nil
}
