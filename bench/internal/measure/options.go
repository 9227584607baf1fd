package measure

import (
	"log/slog"
	"time"
)

// Options say what is measured, and where.
type Options struct {
	Brokers     []string
	DatabaseURL string
	Workloads   []string // empty: all
	Contenders  []string // empty: all
	Rounds      int
	Quick       bool   // little data and short boxes
	BankLog     string // the event log of the bank
	Dir         string // for recorded statements
	Profiles    string // a folder for profiles of the worker's CPU; empty: none
	Stats       bool   // sample what PostgreSQL's sessions wait for
	Logger      *slog.Logger
}

// sizes are the numbers behind the workloads.
type sizes struct {
	orders     int // of new-orders and replay
	bankCases  int
	accounts   int // of hot-key
	hotRecords int
	box        time.Duration // of the contenders that write message by message
	warmup     time.Duration // of latency
	steady     time.Duration
	growth     []int // old accounts
	growing    int   // records on them
	bigOrders  int   // of memory
}

var full = sizes{
	orders: 100_000, bankCases: 1 << 30, accounts: 20_000, hotRecords: 400_000, box: 8 * time.Second,
	warmup: 2 * time.Second, steady: 30 * time.Second,
	growth: []int{100_000, 1_000_000, 5_000_000}, growing: 200_000, bigOrders: 50_000,
}

var quick = sizes{
	orders: 20_000, bankCases: 3000, accounts: 5000, hotRecords: 100_000, box: time.Second,
	warmup: time.Second, steady: 5 * time.Second,
	growth: []int{10_000, 50_000, 100_000}, growing: 60_000, bigOrders: 10_000,
}

func (o Options) sizes() sizes {
	if o.Quick {
		return quick
	}
	return full
}
