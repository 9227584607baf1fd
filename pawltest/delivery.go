package pawltest

import (
	"strings"

	"github.com/pawl-go/pawl/versioning"
)

// A Delivery is a record that a worker got.
type Delivery struct {
	w    *Worker
	sent *sent
}

// check fails the test if the record could not be delivered, or showed a fault.
func (d *Delivery) check(f *fault, err error) {
	d.w.t.Helper()
	if err != nil {
		d.w.t.Fatalf("pawltest: %v", err)
	}
	if f != nil {
		d.w.t.Fatalf("%s\n%s", f.text, d.story())
	}
}

// Outcome returns the verdict on the record and its reason. If the record was parked and its
// entity has moved since, it is what became of it then. After Redeliver it is the verdict on the
// second delivery; after a crash it is the verdict from before the crash, if there was one.
func (d *Delivery) Outcome() versioning.Outcome { return d.sent.last }

// Want fails the test if the record has another verdict. It returns d.
func (d *Delivery) Want(v versioning.Verdict) *Delivery {
	d.w.t.Helper()
	if o := d.sent.last; o.Verdict != v {
		d.w.t.Errorf("delivery %d, %s, is %s, want %s\n%s", d.sent.number, d.sent.text, sayOutcome(&o), v, d.story())
	}
	return d
}

// WantReason fails the test if the record has another reason. It returns d. The reason says also
// what the verdict is: see [versioning.Reason].
func (d *Delivery) WantReason(r versioning.Reason) *Delivery {
	d.w.t.Helper()
	if o := d.sent.last; o.Reason != r {
		d.w.t.Errorf("delivery %d, %s, is %s, want reason %s\n%s", d.sent.number, d.sent.text, sayOutcome(&o), r, d.story())
	}
	return d
}

// Redeliver delivers the same record again, as a broker does if the offset was not committed. It
// returns d.
func (d *Delivery) Redeliver() *Delivery {
	d.w.t.Helper()
	f, err := d.w.world.deliver(d.sent, d.w.takeCrash())
	d.check(f, err)
	return d
}

// Resend delivers the same message as another record, as a producer does that sends a message
// twice. It returns the new delivery.
func (d *Delivery) Resend() *Delivery {
	d.w.t.Helper()
	return d.w.send(d.sent.message)
}

// story returns what has happened to the entities of the record.
func (d *Delivery) story() string {
	var text strings.Builder
	told := make(map[versioning.Entity]bool)
	if d.sent.record == nil {
		return ""
	}
	for i := range d.sent.record.Changes {
		e := d.sent.record.Entity(i)
		if d.w.world.cfg.machine(e.Machine) == nil || told[e] {
			continue
		}
		told[e] = true
		text.WriteString(d.w.world.story(e))
	}
	if text.Len() == 0 {
		return d.w.world.everything()
	}
	return text.String()
}
