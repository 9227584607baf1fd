package pawltest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pawl-go/pawl/pawltest"
)

func TestCloneTime(t *testing.T) {
	db := &pawltest.Database{DDL: "CREATE TABLE payments (id text PRIMARY KEY)"}
	for i := range 12 {
		s := time.Now()
		t.Run("x", func(t *testing.T) { pawltest.Postgres(t, db); fmt.Println(i, time.Since(s)) })
		fmt.Println("with drop", time.Since(s))
	}
	fmt.Println(pawltest.ClosePostgres())
}
