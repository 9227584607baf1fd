package consumer

import (
	"errors"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// maxUnpackedBatch bounds one batch of a producer's, unpacked: the client can only
// take it as a whole. Config.Client may set another bound.
const maxUnpackedBatch = 256 << 20

// recordOverhead is more than a record takes in a batch beside its content.
const recordOverhead = 32

// errFull says that a fetch brought more than there is room for, unpacked. It is no
// trouble: the client fetches again what it could not unpack.
var errFull = errors.New("no room to unpack more until what is there was polled")

// An unpacker bounds what the client has unpacked and was not polled yet. A fetch is
// bounded as it is sent, and 4 MiB may unpack to gigabytes. Where the client can't
// unpack a batch of a partition, it keeps what came before it, and goes on from there
// with the next fetch. It is safe for concurrent use.
type unpacker struct {
	kgo.Decompressor

	most int

	mu   sync.Mutex
	held int // bytes that are unpacked and not polled
}

// Decompress unpacks a batch if there is room. The batch itself is not known before,
// so the last one may take more than the room that is left.
func (u *unpacker) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec == kgo.CodecNone {
		return src, nil
	}
	if !u.hasRoom() {
		return nil, errFull
	}
	unpacked, err := u.Decompressor.Decompress(src, codec)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.held += len(unpacked)
	return unpacked, err
}

func (u *unpacker) hasRoom() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.held < u.most
}

// polled makes room for as much as was polled: rather too much than too little, and
// all of it where nothing is left, for what the client drops by itself is not told.
func (u *unpacker) polled(records []*kgo.Record, left int64) {
	size := 0
	for _, r := range records {
		size += recordOverhead + sizeOf(r)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.held = max(0, u.held-size)
	if left == 0 {
		u.held = 0
	}
}

// sizeOf returns how much memory a record's content takes.
func sizeOf(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
