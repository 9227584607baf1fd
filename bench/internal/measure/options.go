package measure

import (
	"log/slog"
	"time"
)

// Options say what to measure, and where.
type Options struct {
	Brokers     []string
	DatabaseURL string
	Workloads   []string // empty: all
	Contenders  []string // empty: all
	Rounds      int
	Quick       bool   // little data and short boxes
	BankLog     string // path of the bank's event log
	Dir         string // directory for recorded statements
	Profiles    string // directory for CPU profiles of the worker; empty means none
	Stats       bool   // sample what PostgreSQL's sessions wait for
	Logger      *slog.Logger
}

// sizes are the sizes of the workloads.
type sizes struct {
	orders     int // for new-orders and replay
	payments   int
	bankCases  int
	accounts   int // for hot-key and hot-account
	hotRecords int
	box        time.Duration // time limit of the contenders that write message by message
	warmup     time.Duration // for latency
	steady     time.Duration
	growth     []int // numbers of old accounts
	growing    int   // records written to them
	bigOrders  int   // for memory
	due        int   // timers that are due at once
	retired    int   // rows in a retired state
}

var full = sizes{
	orders: 100_000, payments: 80_000, bankCases: 1 << 30, accounts: 20_000, hotRecords: 400_000, box: 8 * time.Second,
	warmup: 2 * time.Second, steady: 30 * time.Second,
	growth: []int{100_000, 1_000_000, 5_000_000}, growing: 200_000, bigOrders: 50_000, due: 1_000_000, retired: 1_000_000,
}

var quick = sizes{
	orders: 20_000, payments: 16_000, bankCases: 3000, accounts: 5000, hotRecords: 100_000, box: time.Second,
	warmup: time.Second, steady: 5 * time.Second,
	growth: []int{10_000, 50_000, 100_000}, growing: 60_000, bigOrders: 10_000, due: 50_000, retired: 300_000,
}

func (o Options) sizes() sizes {
	if o.Quick {
		return quick
	}
	return full
}
