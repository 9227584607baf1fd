package consumer

import (
	"errors"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// maxUnpackedBatch limits the decompressed size of one batch of a producer, because the client
// can only decompress it as a whole. Config.Client may set another limit.
const maxUnpackedBatch = 256 << 20

// recordOverhead is an upper limit for the bytes of a record in a batch beyond its key, value
// and headers.
const recordOverhead = 32

// errFull reports that there is no memory left to unpack a batch. It is not trouble: the client
// fetches the batch again.
var errFull = errors.New("no room to unpack more until the unpacked records are polled")

// An unpacker limits how much the client has unpacked and the worker has not polled yet. The
// limit of a fetch applies to its compressed size, and 4 MiB may unpack to gigabytes. If the
// client can't unpack a batch of a partition, it keeps the records before the batch, and
// continues at the batch with the next fetch. An unpacker is safe for concurrent use.
type unpacker struct {
	kgo.Decompressor

	most int // bytes

	mu   sync.Mutex
	held int // bytes that are unpacked and not polled
}

// Decompress unpacks a batch if there is room. It does not know the unpacked size before, so
// the last batch may take more than the room that is left.
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

// polled frees the room of polled records. It frees rather too much than too little, and
// everything if the client has nothing left, because the client does not report records that
// it drops.
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
