package gatewaytest

import "time"

// Expire makes all stored responses expire.
func Expire(m *Memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, stored := range m.stored {
		stored.expires = time.Now()
		m.stored[id] = stored
	}
}
